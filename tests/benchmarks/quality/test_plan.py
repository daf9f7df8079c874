"""The plan resolves, and every entry differs from ours by what it says."""

import pytest

from benchmarks.quality.plan import DEVELOPED_ON, ENTRIES, FIRST, SETS, TESTED, applies, choices_of, settings_of

PAIRS = [(data, entry) for data in SETS.values() for entry in ENTRIES.values() if applies(data, entry)]


@pytest.mark.parametrize(("data", "entry"), PAIRS, ids=lambda one: one.name)
def test_every_entry_has_settings_and_differs_from_ours(data, entry):
    settings = settings_of(data, entry)
    assert settings.precision == "auto"
    assert entry.name == "glioscope" or choices_of(data, entry) != choices_of(data, ENTRIES["glioscope"])


@pytest.mark.parametrize("data", SETS.values(), ids=lambda one: one.name)
def test_an_ablation_changes_nothing_but_its_ingredient(data):
    ours = choices_of(data, ENTRIES["glioscope"])
    for entry in ENTRIES.values():
        if entry.name.startswith("without-") and applies(data, entry):
            changed = {name for name, value in choices_of(data, entry).items() if value != ours[name]}
            assert changed <= {*entry.train, *(["options"] if entry.reuses else [])}
            assert changed


def test_paper_entries_do_not_take_what_a_set_changes_in_our_recipe():
    settings = settings_of(SETS["figshare"], ENTRIES["paper-gp_unet"])
    assert (settings.pooling, settings.pool_region, settings.rotation, settings.width) == ("max", "all", 330.0, 16)


def test_an_entry_that_would_be_ours_again_is_left_out():
    one_view = SETS["figshare"].train["views"] == 1
    assert applies(SETS["figshare"], ENTRIES["without-two-views"]) is not one_view
    assert not applies(SETS["tcga-lgg"], ENTRIES["without-one-vs-rest"])


def test_patients_that_the_recipe_was_developed_on_are_not_tested():
    params = SETS["figshare"].ingest_params(0)
    assert (params.fold + 1) % params.folds == DEVELOPED_ON
    assert DEVELOPED_ON not in TESTED
    assert set(FIRST) <= ENTRIES.keys()
