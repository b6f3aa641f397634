"""The one clock. Everything that reads the time reads it here, so that a test can move it."""

import datetime as dt

from django.utils import timezone


def now() -> dt.datetime:
    return timezone.now()


def month_of(moment: dt.datetime) -> dt.date:
    """First day of the UTC month: the partition key of samples and scores."""
    utc = moment.astimezone(dt.UTC)
    return dt.date(utc.year, utc.month, 1)
