"""What is sent between a helper for images and its parent."""

import os
import pickle
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import kept

from upscaler.images import animation, still_helper, stills


def test_every_kind_of_image_arrives_as_it_was_read(tmp_path: Path) -> None:
    for number, kind in enumerate(kept.kinds()):
        source = tmp_path / f"{number}{kind.suffix}"
        kind.make(source)
        if animation.is_animated(source) or stills.page_count(source) > 1:
            continue
        answer, data = still_helper._answer(still_helper.read_request(source), bytearray(), lambda: None)
        arrived = still_helper.still_of(answer, bytearray(b"".join(data)))
        assert arrived is not None
        np.testing.assert_equal(astuple(arrived), astuple(stills.read(source, tolerant=True)))


class _Runs:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("exit 3",)


@pytest.mark.parametrize("sent", [pickle.dumps(_Runs()), pickle.dumps(7), b"", b"nonsense"])
def test_nothing_else_is_made_of_an_answer(sent: bytes) -> None:
    assert still_helper.still_of({"lengths": [len(sent)]}, bytearray(sent)) is None
