"""torchvision's work-around: in fresh processes, since an import happens once in each."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_what_is_needed_of_torchvision_works_here() -> None:
    done = run(
        """
        import torch
        from gtn_train.data.vision import torchvision
        image = torchvision.transforms.v2.Resize(4)(torch.zeros(3, 8, 8))
        grid = torchvision.utils.make_grid(torch.zeros(4, 3, 8, 8), nrow=2)
        print(tuple(image.shape), tuple(grid.shape), torchvision.datasets.MNIST.__name__)
        import torchvision as again
        assert again is torchvision
        """
    )
    assert done.stdout == "(3, 4, 4) (3, 22, 22) MNIST\n", done.stderr


def test_it_does_nothing_else(tmp_path) -> None:
    """An ordinary torchvision is imported and no schema defined; other errors pass through."""
    (tmp_path / "torchvision" / "transforms").mkdir(parents=True)
    (tmp_path / "torchvision" / "transforms" / "__init__.py").touch()
    (tmp_path / "torchvision" / "transforms" / "v2.py").touch()
    done = run(
        """
        import importlib.util, json, pathlib, sys, torch
        import gtn_train

        defined = []
        class Library:
            def __init__(self, name, kind): defined.append(name)
            def define(self, schema): defined.append(schema)
        torch.library.Library = Library
        class Absent:
            def find_spec(self, name, path=None, target=None):
                if name == "torchvision":
                    raise ModuleNotFoundError("No module named 'torchvision'", name=name)
        sys.path.insert(0, sys.argv[1])
        sys.dont_write_bytecode = True

        def outcome():  # of the module alone: the package around it reads torchvision's sets
            for name in [name for name in sys.modules if name.startswith("torchvision")]:
                del sys.modules[name]
            file = pathlib.Path(gtn_train.__path__[0], "data", "vision.py")
            spec = importlib.util.spec_from_file_location("vision", file)
            vision = importlib.util.module_from_spec(spec)
            try:
                spec.loader.exec_module(vision)
            except Exception as error:
                return [type(error).__name__, str(error), len(defined)]
            return [vision.torchvision.__file__, "", len(defined)]

        found = []
        for body in (
            "",
            "raise RuntimeError('something else')",
            "import missing_part",
            "raise RuntimeError('operator torchvision::nms does not exist')",
        ):
            pathlib.Path(sys.argv[1], "torchvision", "__init__.py").write_text(body)
            found.append(outcome())
        sys.meta_path.insert(0, Absent())
        print(json.dumps([*found, outcome()]))
        """,
        str(tmp_path),
    )
    assert done.returncode == 0, done.stderr
    nms = "operator torchvision::nms does not exist"
    assert json.loads(done.stdout) == [
        [str(tmp_path / "torchvision" / "__init__.py"), "", 0],
        ["RuntimeError", "something else", 0],
        ["ModuleNotFoundError", "No module named 'missing_part'", 0],
        ["RuntimeError", nms, 3],  # a library and two schemas, and one more attempt
        [
            "ImportError",
            "images need torchvision, and it is not installed: pip install 'gtn-label[train]'",
            3,
        ],
    ]
