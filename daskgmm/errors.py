"""Exceptions, each with the sentence its reader sees: ``ValueError``s, as in scikit-learn."""


class DaskgmmError(ValueError):
    """What a person can mend: its text is shown without a traceback on the command line."""


class ConfigError(DaskgmmError):
    """A configuration file says something that cannot be meant."""


class DataError(DaskgmmError):
    """The rows, or where they are said to be, cannot be used."""


class ParameterError(DaskgmmError):
    """A parameter has a value that cannot be used."""


class ModelFileError(DaskgmmError):
    """A file is not a model that this version can read."""


class DegenerateCovarianceError(DaskgmmError):
    """A component's covariance is not positive definite."""

    SENTENCE = (
        "Fitting the mixture model failed because some components have ill-defined "
        "empirical covariance (for instance caused by singleton or collapsed samples). "
        "Try to decrease the number of components, increase reg_covar, or scale the "
        "input data."
    )

    def __init__(self, sentence: str = SENTENCE) -> None:
        super().__init__(sentence)
