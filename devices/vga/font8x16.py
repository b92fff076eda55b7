"""The 8x16 character generator our firmware loads: code page 437, 256 glyphs of 16 bytes.

Provenance: the glyphs are those of `u_vga16.bdf` by Dmitry Bolkhovityanov, taken, glyph by glyph
through their Unicode tables, from the `*-VGA16.psf.gz` fonts of Debian's `console-setup-linux` 1.221.
Debian calls the console fonts public domain; the source font bears this notice:

    Copyright (c) 2000, 2001 by Dmitry Bolkhovityanov. All Rights Reserved.

    Permission is hereby granted, free of charge, to any person obtaining a copy of this software
    and associated documentation files (the "Software"), to deal in the Software without
    restriction, including without limitation the rights to use, copy, modify, merge, publish,
    distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the
    Software is furnished to do so, subject to the following conditions:

    The above copyright notice and this permission notice shall be included in all copies or
    substantial portions of the Software.

    THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING
    BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
    NONINFRINGEMENT. IN NO EVENT SHALL THE XFREE86 PROJECT BE LIABLE FOR ANY CLAIM, DAMAGES OR
    OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN
    CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.

    Except as contained in this notice, the name of Dmitry Bolkhovityanov shall not be used in
    advertising or otherwise to promote the sale, use or other dealings in this Software without
    prior written authorization from the Dmitry Bolkhovityanov.
"""

from __future__ import annotations

import base64
import zlib
from functools import cache
from typing import Final

GLYPHS: Final = 256
GLYPH_LINES: Final = 16

# Deflated, then base 85
_PACKED: Final = (
    "c-nPWy=x;!6kmKW)uJff5F0s#iz}Ba<RL6F9QhM2O{zr+%N4_&DrF(V-"
    "l_5bkS5(VsqzmT2pKk42$w=2MF;{`a~MIur$Wr;&G(0$XB+Qt-"
    "<vn@duEd)rh4*WGWqb^WKwI~uG)6BYunmLP!7aM*WfN;KE!#x+wCyUEv{j)!%76Jr&iML=4Pj!k|cjQk@PZG{F{%pq>nd>-"
    "$R{msyR@lG~^{vj$s3ZvwZL(%d*jatMKUE+n<2`+5LsIx!qUKo9C~(%Ha3Y?f!5)?6=eR5}%+>Z%_|<9du&N#~9bf;G|Rp{}q0>T"
    "CILP6(k{R3PPKPlC)vYVG%JN>8pJ#NMl8A!z4*ji&8H|S<x1mpR=hTZsA4QmKPqoO9*3Te@Go8E?bWXa+3>Vv_0VJMJPZir}9r(%"
    "bMAgA#~j^<H4*+aaJ_f3K2@lcn$d)E8DZ|+dv)2O2XPhc#wphhh^U8rEj9kw)f6kknkt`vMWxIuutbZ5!qTSM8>onsdNSsolqs-a"
    "Enon5Hjga&vH8FU~o@w4XHSKd{O{zfHdZ?UiobF0n6iy=Ni_hRbaX2u*Sw+X&yukxfYhch9pnOSpBJ&U-"
    "@FQ*{r9`6bl4|3xgCsLIp5U@ki5dGf{1`Qup(Ls)nEk?O!>3UA-"
    "=bB@b{>?7j7yrYXNuSnMRX)BEMR0nEJU$!c)@eg|7s6>NH^@V<~__iOGsUwHbOy9d6xby&vQi?{TzaQ12bV#Cso<qIG0EWaQrvg_"
    ";m$H3ku(ytLUEhm*P7W|$XOrakcHTJ1-"
    "=JfIAS|o2~>MzeUnRyBmY(&oNyvkEexyk1Lwt6et5kG!krOftgvMq{Arr3=$)<6Lm|IT11I(PDt&mEu8pNqX0U!buNpR-"
    "h^6!g<^>Ea7@N&I*slys1!QkERZs{+vSB&rvn&m020aDK1#$aeO5`LTRvO*HnImR^s`z<x2~?Rf8I*-"
    "@mUe`fh|xfhR8<<w$T0Mubhh@U4_F*Qm}OU=bR)%ov$t0UoWCpa(c`5|~h29LBe>o~o#!;LzxpK(g0@uB@G4)O_$!}_2RhLg$11m"
    "<eMcl9Ip6Z(RBp%Dgs0fs#K^&!>=^^yhk1KR9B)8+&iyi)_p&JPiSalc+J-"
    "zYGE;^rbAw|2jverSZHy$%ccAfCVvFs%3TZMEt3mTUBZU!oYrhzQ&3?r7p8E<?4g2bf=MSiUXGe|5k1Uu2aYA>xXJ!+eQ|1o4#l_"
    "x!_={ZL<Ce*v-"
    "sSCto~1OGG<*MWrjmzfNH;dl+MOQIq@87|u2Ty<uRXoodS#eu`+?e7C6B9AtCiLuN3bV>W3IzV)(9>4xR{Q2RJ@aOMe!XNxJ9b#x"
    "+^c6km|HcX);#mFx*#!}qc!c~1WQte6;NG=J*%OX{$X<LN%HuXZDPs9><|J*rJ{CU@<8c{!b(viS+g)X$z?Y<r4z4fJ`pY0bt(7<"
    "Hjl6L$<oDb7U~D7*qBLBE{+_!4N^<@hhobdXp9xnKuqa)LjdvT7wOG?WqOT%~mig!1*nLmQ^Zv8Fzo{FRJO9M}pVHFYPlg#>Mu&}"
    "?pY`1PKC|cHgY9Yc!K2TwE)$3Kg6Z!uIc#`zABH;;rT50Z472e39<Nq!f-e-"
    "K(W;zQQzvf*toO0N{Z9t<dEsW(mUPJ0;{zfci#w;MPYi_Rayjzu>$QJ>7emsX%5ok){sepUd1IfRJrf@Xb4v89KVhq-"
    "6C5qG;!{vQ+|W~3!2bXQ3g+z"
)


@cache
def glyphs() -> bytes:
    """Return the font: 16 bytes a glyph, one a line from the top, bit 7 the leftmost dot."""
    return zlib.decompress(base64.b85decode(_PACKED))
