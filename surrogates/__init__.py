"""Structure -> spectrum models, and the observation model between them and measured data."""
