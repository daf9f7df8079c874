"""slices.csv holds what was measured, exactly."""

from pathlib import Path

import numpy as np
import pytest
from slice_tables import random_table

from glioscope.errors import InputError
from glioscope.evaluation.table import read_table, write_table


def test_a_table_survives_the_file(tmp_path: Path):
    table = random_table()
    write_table(tmp_path / "slices.csv", table)
    again = read_table(tmp_path / "slices.csv", healthy="Healthy")
    assert again.keys() == table.keys()
    assert again.classes == table.classes
    np.testing.assert_array_equal(again.labels, table.labels)
    np.testing.assert_array_equal(again.probabilities, table.probabilities)
    np.testing.assert_array_equal(again.column("dice"), table.column("dice"))
    assert np.isnan(again.column("no such column")).all()


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "case,slice,patient,label,predicted,p_A\nc,1,p,Z,A,0.5\n", "\0"])
def test_a_foreign_file_is_refused_in_one_line(tmp_path: Path, text: str):
    (tmp_path / "slices.csv").write_text(text)
    with pytest.raises(InputError) as caught:
        read_table(tmp_path / "slices.csv")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path):
    with pytest.raises(InputError):
        read_table(tmp_path / "slices.csv")
