"""The steps of a data scientist, with a real MLflow client: one JSON line per step on stdout.

It runs in MLflow's environment, not in the proxy's, with MLflow 2.x and 3.x:

    python client.py TRACKING_URI
"""

import json
import os
import sys
import tempfile
import traceback
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

# The client would repeat a failing request for minutes; the demo should fail at once.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")

import mlflow
import mlflow.pyfunc
from mlflow import MlflowClient

NAME = f"demo-{uuid.uuid4().hex[:8]}"
IS_3 = int(mlflow.__version__.split(".")[0]) >= 3


class Doubler(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """The smallest model that computes something."""

    def predict(self, context: Any, model_input: list[float], params: Any = None) -> list[float]:
        """Return twice the input."""
        return [2 * value for value in model_input]


class Story:
    """The steps of the demo. Later steps use the results of earlier ones, if there are any."""

    def __init__(self, folder: Path) -> None:
        self.client = MlflowClient()
        self.files = {
            "readme.txt": b"made by the demo\n",
            "plots/curve.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>\n",
            "data/with space & umlaut ä.bin": os.urandom(300_000),
            "data/empty": b"",
        }
        self.folder = folder / "upload"
        for name, content in self.files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        self.downloads = folder / "download"
        self.downloads.mkdir()
        self.experiment = "0"
        self.run = "0" * 32
        self.model_uri = f"runs:/{self.run}/model"

    def create_experiment(self) -> str:
        self.experiment = mlflow.create_experiment(NAME)
        return f"experiment {NAME}"

    def log_metrics(self) -> str:
        with mlflow.start_run(experiment_id=self.experiment) as run:
            self.run = run.info.run_id
            mlflow.log_params({"alpha": 0.5, "layers": 3})
            for step in range(10):
                mlflow.log_metric("loss", 1 / (step + 1), step=step)
        history = self.client.get_metric_history(self.run, "loss")
        assert len(history) == 10, history
        return "10 metrics, 2 parameters"

    def upload_artifacts(self) -> str:
        self.client.log_artifacts(self.run, str(self.folder), "files")
        return f"{len(self.files)} files"

    def list_artifacts(self) -> str:
        names = {item.path for item in self.client.list_artifacts(self.run, "files")}
        assert names == {"files/readme.txt", "files/plots", "files/data"}, names
        return "3 entries"

    def log_model(self) -> str:
        where = {"name": "model"} if IS_3 else {"artifact_path": "model"}
        with mlflow.start_run(run_id=self.run if int(self.run, 16) else None):
            info = mlflow.pyfunc.log_model(python_model=Doubler(), pip_requirements=[], **where)
        self.model_uri = info.model_uri
        return "pyfunc model"

    def register_model(self) -> str:
        version = mlflow.register_model(self.model_uri, NAME, await_registration_for=30)
        self.client.set_registered_model_alias(NAME, "champion", version.version)
        return f"version {version.version}, alias champion"

    def download_and_compare(self) -> str:
        path = Path(
            mlflow.artifacts.download_artifacts(
                artifact_uri=f"runs:/{self.run}/files", dst_path=str(self.downloads)
            )
        )
        for name, content in self.files.items():
            assert (path / name).read_bytes() == content, f"{name} differs"
        return f"{sum(map(len, self.files.values()))} bytes equal"

    def load_model_and_predict(self) -> str:
        model = mlflow.pyfunc.load_model(f"models:/{NAME}@champion")
        assert list(model.predict([1.0, 21.0])) == [2.0, 42.0]
        return "predicts"

    def steps(self) -> list[Callable[[], str]]:
        return [
            self.create_experiment,
            self.log_metrics,
            self.upload_artifacts,
            self.list_artifacts,
            self.log_model,
            self.register_model,
            self.download_and_compare,
            self.load_model_and_predict,
        ]


def main() -> int:
    """Run all steps; return 0 if every step worked."""
    mlflow.set_tracking_uri(sys.argv[1])
    # Debug output of the client goes to stderr, where a person can find it.
    good = True
    with tempfile.TemporaryDirectory() as folder:
        story = Story(Path(folder))
        for step in story.steps():
            try:
                ok, detail = True, step()
            except Exception as error:
                traceback.print_exc()
                ok, detail = False, " ".join(str(error).split()) or type(error).__name__
            good &= ok
            line = {"step": step.__name__.replace("_", " "), "ok": ok, "detail": detail}
            print(json.dumps(line), flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
