"""Samples and scores, partitioned by the month that is fixed with their run.

A unique constraint on a partitioned table must hold the partition key, so (month, run, case,
replicate) is unique; that this means (run, case, replicate) is guaranteed by the composite
foreign key (run_id, month): a run has one month.
"""

import apps.core.clock
import apps.core.ids
import django.db.models.deletion
from django.db import migrations, models

from apps.core.triggers import FUNCTION, immutable

SQL = FUNCTION + """
ALTER TABLE evaluations_run ADD CONSTRAINT run_id_month UNIQUE (id, month);
ALTER TABLE evaluations_run ADD CONSTRAINT run_month_is_first_day
  CHECK (date_trunc('month', month::timestamp) = month::timestamp);

CREATE TABLE evaluations_sample (
  month date NOT NULL,
  id uuid NOT NULL,
  run_id uuid NOT NULL,
  case_id uuid NOT NULL REFERENCES evaluations_suitecase (id),
  replicate smallint NOT NULL CHECK (replicate >= 0),
  status varchar(10) NOT NULL CHECK (status IN ('answered', 'filtered', 'refused', 'error')),
  error_kind varchar(40) NOT NULL,
  error_message text NOT NULL,
  text text NOT NULL,
  tool_calls jsonb NOT NULL,
  finish_reason varchar(40) NOT NULL,
  request_digest bytea NOT NULL CHECK (octet_length(request_digest) = 32),
  response_digest bytea CHECK (octet_length(response_digest) = 32),
  prompt_tokens integer CHECK (prompt_tokens >= 0),
  completion_tokens integer CHECK (completion_tokens >= 0),
  latency_ms double precision,
  attempts smallint NOT NULL,
  returned_model varchar(300) NOT NULL,
  system_fingerprint varchar(200) NOT NULL,
  headers jsonb NOT NULL,
  style jsonb NOT NULL,
  answered_at timestamptz NOT NULL,
  PRIMARY KEY (month, id),
  CONSTRAINT sample_slot_once UNIQUE (month, run_id, case_id, replicate),
  CONSTRAINT sample_month_of_run FOREIGN KEY (run_id, month) REFERENCES evaluations_run (id, month)
) PARTITION BY RANGE (month);

CREATE TABLE evaluations_score (
  month date NOT NULL,
  id uuid NOT NULL,
  run_id uuid NOT NULL,
  sample_id uuid NOT NULL,
  case_id uuid NOT NULL REFERENCES evaluations_suitecase (id),
  replicate smallint NOT NULL CHECK (replicate >= 0),
  scoring_revision integer NOT NULL CHECK (scoring_revision >= 1),
  metric_key varchar(120) NOT NULL,
  value double precision CHECK (value <> 'NaN' AND value < 'Infinity' AND value > '-Infinity'),
  explanation text NOT NULL,
  detail jsonb NOT NULL,
  PRIMARY KEY (month, id),
  CONSTRAINT score_once UNIQUE (month, run_id, sample_id, scoring_revision, metric_key),
  CONSTRAINT score_of_sample FOREIGN KEY (month, sample_id) REFERENCES evaluations_sample (month, id),
  CONSTRAINT score_month_of_run FOREIGN KEY (run_id, month) REFERENCES evaluations_run (id, month)
) PARTITION BY RANGE (month);
"""

UNDO = """
DROP TABLE evaluations_score;
DROP TABLE evaluations_sample;
ALTER TABLE evaluations_run DROP CONSTRAINT run_id_month;
ALTER TABLE evaluations_run DROP CONSTRAINT run_month_is_first_day;
"""


class Migration(migrations.Migration):
    dependencies = [("evaluations", "0001_initial")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(SQL, UNDO)],
            state_operations=[
                migrations.CreateModel(
                    name='Sample',
                    fields=[
                        ('pk', models.CompositePrimaryKey('month', 'id', blank=True, editable=False, primary_key=True, serialize=False)),
                        ('month', models.DateField()),
                        ('id', models.UUIDField(default=apps.core.ids.uuid7)),
                        ('replicate', models.PositiveSmallIntegerField()),
                        ('status', models.CharField(choices=[('answered', 'Answered'), ('filtered', 'Content-filtered'), ('refused', 'Refused by the endpoint'), ('error', 'Error')], max_length=10)),
                        ('error_kind', models.CharField(blank=True, max_length=40)),
                        ('error_message', models.TextField(blank=True)),
                        ('text', models.TextField(blank=True)),
                        ('tool_calls', models.JSONField(default=list)),
                        ('finish_reason', models.CharField(blank=True, max_length=40)),
                        ('request_digest', models.BinaryField(max_length=32)),
                        ('response_digest', models.BinaryField(max_length=32, null=True)),
                        ('prompt_tokens', models.PositiveIntegerField(null=True)),
                        ('completion_tokens', models.PositiveIntegerField(null=True)),
                        ('latency_ms', models.FloatField(null=True)),
                        ('attempts', models.PositiveSmallIntegerField(default=1)),
                        ('returned_model', models.CharField(blank=True, max_length=300)),
                        ('system_fingerprint', models.CharField(blank=True, max_length=200)),
                        ('headers', models.JSONField(default=dict)),
                        ('style', models.JSONField(default=dict)),
                        ('answered_at', models.DateTimeField(default=apps.core.clock.now)),
                        ('run', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='samples', to='evaluations.run')),
                        ('case', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='samples', to='evaluations.suitecase')),
                    ],
                    options={
                        'constraints': [models.UniqueConstraint(fields=('month', 'run', 'case', 'replicate'), name='sample_slot_once')],
                    },
                ),
                migrations.CreateModel(
                    name='Score',
                    fields=[
                        ('pk', models.CompositePrimaryKey('month', 'id', blank=True, editable=False, primary_key=True, serialize=False)),
                        ('month', models.DateField()),
                        ('id', models.UUIDField(default=apps.core.ids.uuid7)),
                        ('sample_id', models.UUIDField()),
                        ('replicate', models.PositiveSmallIntegerField()),
                        ('scoring_revision', models.PositiveIntegerField(default=1)),
                        ('metric_key', models.CharField(max_length=120)),
                        ('value', models.FloatField(null=True)),
                        ('explanation', models.TextField(blank=True)),
                        ('detail', models.JSONField(default=dict)),
                        ('run', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='scores', to='evaluations.run')),
                        ('case', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='scores', to='evaluations.suitecase')),
                    ],
                    options={
                        'constraints': [models.UniqueConstraint(fields=('month', 'run', 'sample_id', 'scoring_revision', 'metric_key'), name='score_once')],
                    },
                ),
            ],
        ),
        immutable("evaluations_sample"),
        immutable("evaluations_score"),
        immutable("evaluations_payload"),
        immutable("evaluations_suiterevision"),
        immutable("evaluations_suitecase"),
    ]
