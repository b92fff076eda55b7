"""The character generators of 8 and 14 lines, and all three by their height.

Provenance: glyphs of the `*-VGA8.psf.gz` and `*-VGA14.psf.gz` fonts of Debian's `console-setup-linux`
1.221, by way of their Unicode tables; Debian calls them public domain. The few characters of code page
437 that they lack are those of the font of 16 lines, shrunk.
"""

from __future__ import annotations

import base64
import zlib
from functools import cache
from typing import Final

from devices.vga import font8x16

# Deflated, then base 85
_PACKED_8: Final = (
    "c-oCsF^eNN6n>;IF2u!z6at&g-e!M*;KJ=d27B)xT$A!Z=N!rw!^M>mWSF~!5K_8Kx-@C7P8R}GsS?Lk%fK4r%H`t9JB66Zdy?in"
    "S+2+%&pf}Ur%&%aJv{*gDz5*${^$4WV)l4;dMdXi^2cBQuq%fz&b~i;F+__NAAqMH=^pMqKMW4|rSTwNh>JMhdgLaK&!YZ9%skFv"
    "&>(-it=+x^`0UZNI2i!&wBWo*`8g4s!<*Zmz8#OpFnyUSmHv`@UyA~Ulj(3e8MfY@bD$4SLjcw=WFTZC1zBHSUKYsCRjbY;e&0Tl"
    "&{_x(kYz#6vId_FM#U=s!i@lo<w6-qvShioOAtbOJ1(S@f&;#slTM{=st8axAv$nx?2e1!z<{B73Ar&h#^fLt0?C24ERi;FW;IOG"
    "%r@)<Tv;=c6Is?4xwAMQaWo1f<0of)5wMT1q(#U-zdZi%KP^o7oZ`*RX0s_Z#&4~&7MxPKQVvp8mZeIe&XiJF4bA*YU(K7q<=&6K"
    "S5vTlngvbn3k@d>-9&$OD$|+T!5-5yR}GlErolkL><*jvhVp2P$r8VwL_A#HuJy#rG*8>@VnT8L6>zPm$h82Rebd|_9)chgcrDsB"
    "2IIo@v?S616g?Y&rVZyB_g_JeS|Pd`&@9J&-Aak^uSvEg<)5J%^&~sYQ<BL&`3tb5jMrP4EfxAJVB!5_5E8JJlz<)KNqI$uU?~B}"
    "Yl^_*Q9J-^%D_J2ouIr_9zQQNt6?N^A-*9WY1%SyO?Vi8L&fS75cKE|Zt`#9m4k^8TOlSO0s#rAg5^4fJN)wO*|Rr(A63e<jrfd*"
    "IQ7pVA6d+c6oDsE4(Z_wwDa~h<_GOOhl&!SVG%i|IpI7Fb{KzxmDk|DG2YDeoH{`<E~)~ix^h*uK`UR{0FeuhCk4+*aFqNB{@NI~"
    "jrk05_<AlWPf7M_FLw^L+W8aN6za!&TyFA|M9pJdTm(OPI8w+1{&F4mYq|D?3u!h5YA4tSz&9gKEdUP+HoCI(nRSf$E_J)Xc#5i8"
    "SIDtI1oaqrqO5vC+okXyz}c_i`R-kK?*0xBKT`cEPKDIxy>b3f@7;XBd*fe4ecPRhP9JgFZoIGW^Ej`Q|1VDasdfAF;`o2?`|CX5"
    "b>FUy<bjd)kv@;qjp1fj)>!Jp*4(V$b`C?Czs|7#(~U*<6?PTQ{LWK39Lh)IahGS9_3pLKk;X_N4b}DX_I0R}0=zX=M78i1#`yaY"
    "n`(DmIO@;XogEbw9vO$nbabTWr&LD{==kG7rn9{8SRZedkTOcbXta7RM)1dn)oKM~CuB%aigav%{{oL&jMx"
)
_PACKED_14: Final = (
    "c-pO2y=x;!6jyv<aj_^WQVdu)V6M1w;ex!yV#C#G(}Wx>5^Pcojw+qN%gXLj<R4I(!cG2#5LgnJY7tk71qs=et}}vwPK6ldz4;!z"
    "XRgRw*504q%)IaSrq%MPxV^i*{cCz#2z2@SGK!+%=0TvzU@{mCe)_O31w4LxHaL5GY_=ZY5!8E1A6p+Cv<<fML+x{U=h3;h@8BrM"
    "y?vM7%Jb;bk-iPML^tKbX1CvM9?Ba)M?w4aqPRG12S<WSl7bLYBt)Rsg5aODcClDop8yF&<5tdwU6woQOePcml)@q)$rGd{01kOb"
    "%n4D-)5so}rs>3hSCrFNde^gOx<ryBfn{oCulKdXqnuNUe+25}^I_bb=N-lEXCa9)Cca}D$D{468X@R*Lst^4LL#BGfP_dyTR~$U"
    "Q>zUrh_5BCHQ{`syk-S(U@Ef=+|Jk>Ug>!<R@Q4Cu4G)HAV`8htqi*ftvJY&vdXgD8(z);nKL<4HW_)j;o(<d_M!grb&<44sGMrQ"
    "2=k1A__MIdYHeZ!Xti1`%R+e`1af!<+Gkmo!@CzK$x5Uw5okv<B)XHrvNX-pG~+HxH(Ekj&a_2L36K&J=}wY3sIG@{WmRuBb){Br"
    "Ql!3;z}O?7&*zHA*m}KP&1TH_j2RCK8(dwG=6PUvW16jXRMI%qzAk=nHDlhH@|(sTg+LSjXmo+(MK=nBE=tTPoc#tt_*>^oDoMvy"
    "L@!WT7fMoDmt?IbI$(9!h)WuWd9@Uk(|UlzGZR0Rc*=$@99{txmd6dR7e#wW$g$>)W|)S83un?1oVnH|6I(AqK6X*-sv66c88zM="
    "iWHB&CAJ-y_yH|NHd$SauN5!X5p0b>X>iY}=9$=veWpi7(u7`D^Uzq?QB(+Z{8R|J=^Ge9%AA$6k*Poq5$wzOwZZNoyltl|>K-Y6"
    "N4`{f>4)gJ+Zzm2t2I?cpvQxfj-J@oY*eCg<;Ip$2SMgI2->H+(!?Dlbf7&tk)|%f=Hc^fY%v8bLU|V9LMp0S3AYGMfNqfM&H#0_"
    "IGNN7k#$84#Nl0ufgm(9ai=aqc^083te2o{+}MIx8!>%|+y}_5VjMy5-|Gn!Q^=z<+fr4xFiuG#qX}&y?`OYc*}q<Oi1NUuYJH97"
    "TEEEnX?choJs~G-&I4fB!DKxolwPz<UB(oLzmq*MC?Xg-CL=L@oEuaS1O{9!?(4;s_<VO?uU2(^|IQ9OBBr&R)U>8Ovkks!Exvv|"
    "bDuxHcb`8W-G?;L?lX{-*o>O?k>^$#+dhq&_I=~6Jor7<U+GCd`1=}HHX=`g&-;I*A3npPMhV`&W<49Veg^FtPdRv`Rg<*w=qr!>"
    "4U(>BP*&G^aKMdWzPypO(U&7u4Tv(of*UB+bpu@m?o8&EG{NE=yVGK8Dl5061RBG1TIi9NtLsdzn)yFK*~<@dzDH#2oH<&kQdIOK"
    "TpOVKbaaOvm(Hcn+>r1V$DPZnyweu;Vpo_}fmb|(+9xMZYNpm#D{+Fo8bkZhBMRI1C-22R_~OM;@a1<u>nWPNncn?=H+_?cQ%K~t"
    "tX3}R$<hA-42VhU"
)


@cache
def font(lines: int) -> bytes:
    """Return 256 glyphs of 8, 14 or 16 lines: a byte a line from the top, bit 7 the leftmost dot."""
    if lines == font8x16.GLYPH_LINES:
        return font8x16.glyphs()
    return zlib.decompress(base64.b85decode({8: _PACKED_8, 14: _PACKED_14}[lines]))
