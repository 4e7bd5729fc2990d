"""Puts an experiment with a run and a registered model into a registry, with a real MLflow client.

It runs in MLflow's environment: `python sample_run.py TRACKING_URI` prints the ids as JSON.
"""

import json
import os
import sys

os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")

import mlflow

NAME = "churn-forecast"
README = "Trained on the events of October.\n"

mlflow.set_tracking_uri(sys.argv[1])
# MLflow records the name of the script, and its git repository: this path is in none.
sys.argv[0] = "/train.py"
experiment = mlflow.set_experiment(NAME)
with mlflow.start_run(run_name="gradient-boosting", tags={"mlflow.source.name": "train.py"}) as run:
    mlflow.log_params({"learning_rate": 0.1, "max_depth": 6, "subsample": 0.8})
    for step in range(20):
        mlflow.log_metrics({"loss": 0.7 * 0.87**step, "accuracy": 1 - 0.4 * 0.85**step}, step=step)
    mlflow.log_text(README, "files/readme.txt")
    mlflow.log_text("flavors: {}\n", "model/MLmodel")
    mlflow.set_tag("team", "retention")
client = mlflow.MlflowClient()
client.create_registered_model(NAME)
source = f"{run.info.artifact_uri}/model"
client.create_model_version(NAME, source=source, run_id=run.info.run_id)
print(json.dumps({"experiment": experiment.experiment_id, "run": run.info.run_id, "model": NAME}))
