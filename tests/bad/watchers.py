"""Monitors of users, each with one fault."""


def silent(probe, options):
    return {}


def worded(probe, options):
    return {}


worded.columns = ["margin"]


def spaced(probe, options):
    return {}


spaced.columns = {"my margin": "nats"}


def clashing(probe, options):
    return {}


clashing.columns = {"hessian_trace": "1"}


def losing(probe, options):
    return {}


losing.columns = {"train_loss": "nats"}


def optional(probe, options):
    return {}


optional.columns, optional.options = {"margin": "nats"}, {"quantile": 0.5}


def dear(probe, options):
    return {}


dear.columns, dear.cost = {"margin": "nats"}, "much"
