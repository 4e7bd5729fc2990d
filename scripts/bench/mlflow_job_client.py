"""One job of a real MLflow client; prints its seconds, without the imports.

It runs in MLflow's environment: python mlflow_job_client.py TRACKING_URI
"""

import os
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
os.environ["GIT_PYTHON_REFRESH"] = "quiet"

import mlflow
import mlflow.pyfunc

METRICS = 200
FILES = 20
NAME = f"bench-{uuid.uuid4().hex}"


class Doubler(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """The smallest model that computes something."""

    def predict(self, context: Any, model_input: list[float], params: Any = None) -> list[float]:
        """Return twice the input."""
        return [2 * value for value in model_input]


def job(folder: Path) -> None:
    """Log metrics and artifacts, register a model, and get everything back."""
    files = folder / "files"
    files.mkdir()
    for number in range(FILES):
        (files / f"{number}.bin").write_bytes(os.urandom(64 * 1024))
    with mlflow.start_run(experiment_id=mlflow.create_experiment(NAME)) as run:
        for step in range(METRICS):
            mlflow.log_metric("loss", 1 / (step + 1), step=step)
        mlflow.log_artifacts(str(files), "files")
        mlflow.pyfunc.log_model(
            name="model", python_model=Doubler(), pip_requirements=[], registered_model_name=NAME
        )
    get = mlflow.artifacts.download_artifacts
    back = Path(get(artifact_uri=f"runs:/{run.info.run_id}/files", dst_path=str(folder / "back")))
    for file in files.iterdir():
        assert (back / file.name).read_bytes() == file.read_bytes(), f"{file.name} differs"
    get(artifact_uri=f"models:/{NAME}/1", dst_path=str(folder / "model"))


mlflow.set_tracking_uri(sys.argv[1])
with tempfile.TemporaryDirectory() as scratch:
    begin = time.perf_counter()
    job(Path(scratch))
    print(time.perf_counter() - begin)
