"""GovTrack: which AI model version is approved for which use, and is it still that model?"""

__version__ = "0.1.0"
