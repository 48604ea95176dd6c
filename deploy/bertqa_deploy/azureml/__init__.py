"""Azure Machine Learning: training jobs, and versions behind a managed online endpoint."""
