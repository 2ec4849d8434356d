"""Make the gate of restoring weights more cautious, without training them again.

    python tools/close_gate.py restore-a-x1.safetensors restore-x1.safetensors --by 0.5

The gate of `compact` is the sigmoid of a mean of logits. Lower logits leave more of a hardly degraded image
as it is; for a clearly degraded one they are far above zero, and little changes.
"""

import argparse
from pathlib import Path

from upscaler.models import weight_file


def close_gate(source: Path, target: Path, by: float) -> None:
    """Write ``source`` with logits lowered by ``by`` to ``target``, and record it in the metadata.

    Raises:
        SystemExit: The weights have no gate.
    """
    weights = weight_file.load(source)
    if "gate.bias" not in weights.state:
        raise SystemExit(f"'{source}' has no gate")
    lowered = {name: tensor - by if name == "gate.bias" else tensor for name, tensor in weights.state.items()}
    weight_file.save(target, weights.network(), lowered, weights.training | {"gate_closed_by": by})


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--by", type=float, default=0.5)
    arguments = parser.parse_args()
    close_gate(arguments.source, arguments.target, arguments.by)


if __name__ == "__main__":
    main()
