"""Which file a sector comes from, and how much comes from which; the same as what reading shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from disks.open import open_image
from disks.vhd.create import roots_needed
from disks.vhd.fixed import FixedVhd
from disks.vhd.parents import ParentRules
from disks.vhd.sparse import SparseVhd
from disks.vhd.tree import family_of, shares_of
from disks.vhd.whence import Lookup, Origin, Passed, whence
from tests.disks.conftest import make_child
from tests.disks.damage import BLOCK, CHILD_BLOCK, FIRST_BLOCK, TABLE, in_footers, u64
from tests.disks.scribbles import scribble

MakeVhd = Callable[..., Path]
MakeChain = Callable[..., list[Path]]


def opened(path: Path) -> SparseVhd:
    image = open_image(path, read_only=True)
    assert isinstance(image, SparseVhd)
    return image


def test_a_sector_of_the_child_comes_through_its_own_table_and_bit(child: Path) -> None:
    image = opened(child)
    data = CHILD_BLOCK + 512 + 5 * 512
    lookup = Lookup(0, TABLE, CHILD_BLOCK // 512, CHILD_BLOCK, 0x04, data)
    assert list(whence(image, 5, 1)) == [Origin(5, 1, 0, child, data, lookup, ())]
    image.close()


def test_a_clear_bit_passes_a_sector_on_to_the_parent(child: Path) -> None:
    image = opened(child)
    (origin,) = whence(image, 9, 1)
    asked = Lookup(0, TABLE, CHILD_BLOCK // 512, CHILD_BLOCK + 1, 0x40, CHILD_BLOCK + 512 + 9 * 512)
    assert origin.passed == (Passed(child, "clear", asked),)
    assert (origin.level, origin.path) == (1, child.with_name("base.vhd"))
    assert origin.data_offset == FIRST_BLOCK + 512 + 9 * 512
    image.close()


def test_an_absent_block_passes_a_sector_on_and_the_base_ends_in_zeros(child: Path) -> None:
    image = opened(child)
    (origin,) = whence(image, 1024, 1)
    assert origin.path is None
    assert [(passed.why, passed.lookup and passed.lookup.bitmap_byte) for passed in origin.passed] == [
        ("absent", None),
        ("absent", None),
    ]
    image.close()


def test_what_lies_past_the_end_of_the_parent_is_zeros(child: Path) -> None:
    in_footers(48, u64(BLOCK // 2))(child.with_name("base.vhd"))
    image = opened(child)
    inside, outside = whence(image, 511, 2)
    assert inside.path == child.with_name("base.vhd")
    assert outside.path is None
    assert outside.passed[-1] == Passed(child.with_name("base.vhd"), "beyond", None)
    image.close()


def test_a_fixed_base_has_no_lookup(make_vhd: MakeVhd) -> None:
    base = make_vhd(1 << 20, fixed=True, name="base.vhd")
    image = opened(make_child(base.with_name("child.vhd"), base))
    (origin,) = whence(image, 3, 4)
    assert (origin.path, origin.lookup, origin.data_offset) == (base, None, 3 * 512)
    image.close()


@pytest.mark.parametrize("base", [{"block_bytes": BLOCK}, {"fixed": True}])
def test_every_sector_lies_where_whence_says(make_chain: MakeChain, base: dict[str, object]) -> None:
    chain = make_chain(1, 5 << 20, **base)
    scribble(chain[0], seed=5)
    for level in (1, 2):
        chain.append(make_child(chain[0].with_name(f"above{level}.vhd"), chain[-1]))
        expected = scribble(chain[-1], seed=5 + level, writes=15)
    image = opened(chain[-1])
    total = image.size_bytes // 512
    shown = bytearray()
    for origin in whence(image, 0, total):
        assert origin.lba == len(shown) // 512
        length = origin.sectors * 512
        if origin.path is None:
            shown += bytes(length)
        else:
            assert origin.path == image.levels[origin.level].path
            with origin.path.open("rb") as file:
                file.seek(origin.data_offset or 0)
                shown += file.read(length)
    assert shown == expected
    image.close()


def test_shares_add_up_to_the_disk(make_chain: MakeChain) -> None:
    chain = make_chain(3, 5 << 20)
    scribble(chain[-1], seed=9)
    image = opened(chain[-1])
    shares, zeros = shares_of(image)
    assert sum(shares) + zeros == 5 << 20
    assert shares[0] > 0
    assert shares[1:] == [0, 0]
    image.close()


def test_a_family_holds_the_siblings_too(child: Path) -> None:
    base = child.with_name("base.vhd")
    sibling = make_child(base.with_name("sibling.vhd"), base)
    make_child(base.with_name("nephew.vhd"), sibling)
    image = opened(child)
    family = family_of(image, ParentRules().under(child))
    image.close()
    assert family.base.path == base
    assert [node.path.name for node in family.base.children] == ["child.vhd", "sibling.vhd"]
    assert [node.path.name for node in family.base.children[1].children] == ["nephew.vhd"]
    mine, other = family.base.children
    assert (mine.owned_bytes, family.base.owned_bytes, other.owned_bytes) == (512, BLOCK - 512, None)
    assert other.saves_bytes == BLOCK - sibling.stat().st_size


def test_a_sibling_that_does_not_open_says_why(child: Path) -> None:
    base = child.with_name("base.vhd")
    sibling = make_child(base.with_name("sibling.vhd"), base)
    contents = bytearray(sibling.read_bytes())
    contents[TABLE : TABLE + 4] = bytes(4)
    sibling.write_bytes(contents)
    image = opened(child)
    family = family_of(image, ParentRules().under(child))
    image.close()
    assert "BAT entry 0" in family.base.children[1].problem


def test_roots_needed_are_those_not_below_the_child(make_vhd: MakeVhd, tmp_path: Path) -> None:
    (tmp_path / "bases").mkdir()
    base = make_vhd(1 << 20, name="bases/base.vhd", fixed=True)
    image = open_image(base, read_only=True)
    assert isinstance(image, FixedVhd)
    assert roots_needed(tmp_path / "child.vhd", image) == []
    assert roots_needed(tmp_path / "bases" / "child.vhd", image) == []
    (tmp_path / "mine").mkdir()
    assert roots_needed(tmp_path / "mine" / "child.vhd", image) == [base.parent]
    image.close()
