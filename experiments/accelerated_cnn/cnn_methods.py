"""The methods of the accelerated-CNN report as contenders of one setting each: it tunes nothing but the rate."""

from collections.abc import Mapping, Sequence

from optaxaccel.training.many.experiment import Contender, Reported
from optaxaccel.training.run.spec import Run

# Test accuracies at epochs 0 to 6 of the report's runs (Figs. 5 and 6), as its public repository
# PatriciaXiao/AcceleratedSGDMethods has them (commit 5449352, folder result/).
MNIST = {
    "standard": (
        (0.1589, 0.9857, 0.9900, 0.9914, 0.9895, 0.9919, 0.9924),
        (0.1284, 0.9853, 0.9883, 0.9907, 0.9918, 0.9911, 0.9923),
    ),
    "AGD": (
        (0.1119, 0.9874, 0.9905, 0.9912, 0.9899, 0.9909, 0.9919),
        (0.0627, 0.9831, 0.9875, 0.9892, 0.9901, 0.9913, 0.9873),
    ),
    "GOSE": (
        (0.0828, 0.9828, 0.9891, 0.9895, 0.9901, 0.9917, 0.9903),
        (0.0836, 0.9853, 0.9882, 0.9903, 0.9907, 0.9919, 0.9927),
    ),
    "ANCM": (
        (0.0692, 0.9844, 0.9898, 0.9887, 0.9909, 0.9907, 0.9911),
        (0.0964, 0.9771, 0.9866, 0.9899, 0.9922, 0.9916, 0.9907),
    ),
    "combined": (
        (0.0586, 0.9775, 0.9911, 0.9894, 0.9920, 0.9930, 0.9926),
        (0.1202, 0.9845, 0.9898, 0.9911, 0.9918, 0.9897, 0.9925),
    ),
}
CIFAR10 = {
    "standard": (
        (0.1002, 0.5870, 0.6475, 0.6971, 0.6865, 0.7289, 0.7327),
        (0.0981, 0.5796, 0.6434, 0.6941, 0.6992, 0.7167, 0.7038),
        (0.0938, 0.5902, 0.6449, 0.6832, 0.7060, 0.7280, 0.7227),
    ),
    "AGD": (
        (0.1050, 0.5983, 0.6737, 0.7002, 0.7226, 0.7311, 0.7339),
        (0.0891, 0.5871, 0.6889, 0.6968, 0.7139, 0.7190, 0.7274),
        (0.0992, 0.6096, 0.6848, 0.7103, 0.7347, 0.7161, 0.7407),
    ),
    "GOSE": (
        (0.0807, 0.5599, 0.6746, 0.6910, 0.7089, 0.7217, 0.7104),
        (0.1042, 0.5876, 0.6337, 0.6911, 0.7225, 0.7351, 0.7251),
        (0.1003, 0.5857, 0.6702, 0.7049, 0.7068, 0.7182, 0.7294),
    ),
    "ANCM": (
        (0.0859, 0.5917, 0.6863, 0.7156, 0.7228, 0.7340, 0.7447),
        (0.0986, 0.6112, 0.6740, 0.7225, 0.7178, 0.7198, 0.7280),
        (0.0949, 0.5615, 0.6756, 0.7087, 0.7263, 0.7199, 0.7337),
    ),
    "combined": (
        (0.1276, 0.6075, 0.6878, 0.7012, 0.7234, 0.7384, 0.7309),
        (0.0794, 0.5905, 0.6822, 0.6996, 0.7233, 0.7246, 0.7306),
        (0.1088, 0.5810, 0.6570, 0.6835, 0.7132, 0.7303, 0.7218),
    ),
}


def contenders(base: Run, rate: float) -> tuple[Contender, ...]:
    """The report's five methods with momentum 0.9, and Nesterov's method as optax has it."""
    momentum = {"learning_rate": rate, "momentum": 0.9}
    settings_of = {
        "standard": ("optax.sgd", momentum),
        "AGD": ("agd", momentum),
        "GOSE": ("gose_sgd", momentum),
        "ANCM": ("ancm", momentum),
        "combined": ("gose_agd", momentum),
        "optax Nesterov": ("optax.sgd", {**momentum, "nesterov": True}),
    }
    return tuple(
        Contender(label, (base.replace(method=method, method_args=arguments),))
        for label, (method, arguments) in settings_of.items()
    )


def reported(accuracies: Mapping[str, Sequence[Sequence[float]]], seconds: Mapping[str, str]) -> Reported:
    """The report's accuracies after the last epoch, mean over its runs, and its seconds over standard's."""
    ends = {label: [100 * run[-1] for run in runs] for label, runs in accuracies.items()}
    outcome = {label: f"{sum(errors) / len(errors):.2f} (n = {len(errors)})" for label, errors in ends.items()}
    return Reported("accuracy %", outcome, ("over standard", seconds), accuracies)
