"""Which contrast the words of a series mean, as scanners and technicians write them."""

from __future__ import annotations

import pytest

from glioscope.data.contrast import canonical, contrast_of, names

WORDS = {
    "t1": [
        "T1", "t1n", "T1w", "AX T1 PRE", "AX T1 pre Gd", "AX T1 w/o contrast", "T1 nativ", "T1 ohne KM", "T1 C-",
        "T1 -C", "t1_mprage_tra_p2_iso", "AX T1 FLAIR", "sT1W_3D_TFE", "eT1 W_SE", "AX 3D BRAVO", "*tfl3d1_16ns",
        "T1 POST OP", "T1 non-contrast",
    ],
    "t1ce": [
        "T1ce", "T1C", "T1Gd", "t1 km", "AX T1 POST GAD", "t1_mprage_sag +C", "ax t1 c+", "t1_mpr_sag nach KM",
        "T1W_3D_TFE_GD", "Ax T1 FLAIR +C", "T1 SPGR POSTCONTRAST", "T1 with contrast", "T1 pre-op +C",
    ],
    "t2": ["T2", "Ax T2 FSE", "t2w", "t2_tse_tra", "T2 FS"],
    "flair": ["FLAIR TRA", "T2 FLAIR", "t2f", "t2_tirm_tra_dark-fluid", "FLAIR MPR cor", "*spcir_220ns"],
    "": [
        "", "T2* GRE", "AX T1 W/WO", "PRE AND POST T1", "T1 SUB", "T1 map", "ep2d_diff T2", "3-plane T1 loc", "T1+T2",
        "SWI", "head",
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "contrast"), [(text, contrast) for contrast, texts in WORDS.items() for text in texts]
)
def test_words_of_the_clinic(text: str, contrast: str) -> None:
    assert contrast_of([text]) == contrast


def test_the_first_text_that_says_something_decides() -> None:
    assert contrast_of(["sag 5mm", "t2_tse"]) == "t2"
    assert contrast_of(["T1", "t2_tse"]) == "t1"
    assert contrast_of(["T1 SUB", "T1 post"]) == ""


def test_a_contrast_agent_counts_unless_words_deny_it() -> None:
    assert contrast_of(["T1"], agent="Gadovist 8 ml") == "t1ce"
    assert contrast_of(["T1 nativ"], agent="Gadovist 8 ml") == "t1"
    assert contrast_of(["T1"], agent="NONE") == "t1"
    assert contrast_of(["T2"], agent="Gadovist 8 ml") == "t2"


def test_channel_names() -> None:
    assert [canonical(name) for name in ("T1c", "t2f", "T1N", "CBV")] == ["t1ce", "flair", "t1", "cbv"]
    assert names("DSC rCBV map", "map")
    assert not names("mapping", "map")
