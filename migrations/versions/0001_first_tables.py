"""The first tables: run, snapshot, connection, one for each table of RFC 4898, and a view.

The lists of names are what the catalogue held when this was written. They stay as they are: a
variable that joins the catalogue later gets its column in a later revision.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# A row for each connection that changed.
SAMPLED = ("global", "perf", "path", "stack", "app", "tune", "extras")

VARIABLES = {
    "global": """
        LimState LimState_ts start_ts current_ts start_tv
    """,
    "perf": """
        SegsOut DataSegsOut DataOctetsOut HCDataOctetsOut SegsRetrans OctetsRetrans SegsIn
        DataSegsIn DataOctetsIn HCDataOctetsIn ElapsedSecs ElapsedMicroSecs StartTimeStamp
        CurMSS PipeSize MaxPipeSize SmoothedRTT CurRTO CongSignals CurCwnd CurSsthresh
        Timeouts CurRwinSent MaxRwinSent ZeroRwinSent CurRwinRcvd MaxRwinRcvd ZeroRwinRcvd
        SndLimTransRwin SndLimTimeRwin SndLimTransCwnd SndLimTimeCwnd SndLimTransSnd
        SndLimTimeSnd SndLimTransStartup SndLimTimeStartup SndLimTransTSODefer
        SndLimTimeTSODefer SndLimTransPace SndLimTimePace LostRetransmitSegs NormalRTTm
        HighRTTm HCOctetsRetrans ElapsedUs SmoothedRTTUs CurRTOUs CurCwndSegs
        CurSsthreshSegs SndLimTimeRwinUs SndLimTimeCwndUs SndLimTimeSndUs
        SndLimTimeStartupUs SndLimTimeTSODeferUs SndLimTimePaceUs
    """,
    "path": """
        RetranThresh NonRecovDAEpisodes SumOctetsReordered NonRecovDA SampleRTT RTTVar
        MaxRTT MinRTT SumRTT HCSumRTT CountRTT MaxRTO MinRTO IpTtl IpTosIn IpTosOut
        PreCongSumCwnd PreCongSumRTT PostCongSumRTT PostCongCountRTT ECNsignals
        DupAckEpisodes RcvRTT DupAcksOut CERcvd ECESent SampleRTTUs RTTVarUs MdevUs MaxRTTUs
        MinRTTUs HCSumRTTUs MaxRTOUs MinRTOUs PreCongSumRTTUs PostCongSumRTTUs
    """,
    "stack": """
        ActiveOpen MSSSent MSSRcvd WinScaleSent WinScaleRcvd TimeStamps ECN WillSendSACK
        WillUseSACK State Nagle MaxSsCwnd MaxCaCwnd MaxSsthresh MinSsthresh InRecovery
        DupAcksIn SpuriousFrDetected SpuriousRtoDetected SoftErrors SoftErrorReason
        SlowStart CongAvoid OtherReductions CongOverCount FastRetran SubsequentTimeouts
        CurTimeoutCount AbruptTimeouts SACKsRcvd SACKBlocksRcvd SendStall DSACKDups MaxMSS
        MinMSS SndInitial RecInitial CurRetxQueue MaxRetxQueue CurReasmQueue MaxReasmQueue
        EarlyRetrans EarlyRetransDelay RackTimeout
    """,
    "app": """
        SndUna SndNxt SndMax ThruOctetsAcked HCThruOctetsAcked RcvNxt ThruOctetsReceived
        HCThruOctetsReceived CurAppWQueue MaxAppWQueue CurAppRQueue MaxAppRQueue
    """,
    "tune": """
        LimCwnd LimSsthresh LimRwin LimMSS
    """,
    "extras": """
        OtherReductionsCV OtherReductionsCM Priority
    """,
    "listener": """
        StartTime SynRcvd Initial Established Accepted ExceedBacklog HCSynRcvd HCInitial
        HCEstablished HCAccepted HCExceedBacklog CurConns MaxBacklog CurBacklog
        CurEstabBacklog
    """,
    "scalar": """
        ListenerTableLastChange
    """,
    "control": """
        ControlPath ControlStack ControlApp ControlTune ControlNotify ConnTableLatency
    """,
}

# Read, not stored: RFC names that follow from a wider or finer column of the same row.
DERIVED = {
    "DataOctetsOut": "HCDataOctetsOut & 4294967295",
    "OctetsRetrans": "HCOctetsRetrans & 4294967295",
    "DataOctetsIn": "HCDataOctetsIn & 4294967295",
    "ElapsedSecs": "ElapsedUs / 1000000",
    "ElapsedMicroSecs": "ElapsedUs % 1000000",
    "SmoothedRTT": "SmoothedRTTUs / 1000",
    "CurRTO": "CurRTOUs / 1000",
    "SndLimTimeRwin": "(SndLimTimeRwinUs / 1000) & 4294967295",
    "SndLimTimeCwnd": "(SndLimTimeCwndUs / 1000) & 4294967295",
    "SndLimTimeSnd": "(SndLimTimeSndUs / 1000) & 4294967295",
    "SndLimTimeStartup": "(SndLimTimeStartupUs / 1000) & 4294967295",
    "SndLimTimeTSODefer": "(SndLimTimeTSODeferUs / 1000) & 4294967295",
    "SndLimTimePace": "(SndLimTimePaceUs / 1000) & 4294967295",
    "PreCongSumRTT": "(PreCongSumRTTUs / 1000) & 4294967295",
    "PostCongSumRTT": "(PostCongSumRTTUs / 1000) & 4294967295",
    "CurCwnd": "min(CurCwndSegs * CurMSS, 4294967295)",
    "CurSsthresh": (
        "CASE WHEN CurSsthreshSegs >= 2147483647 THEN 4294967295"
        " ELSE min(CurSsthreshSegs * CurMSS, 4294967295) END"
    ),
    "SampleRTT": "SampleRTTUs / 1000",
    "RTTVar": "RTTVarUs / 1000",
    "MaxRTT": "MaxRTTUs / 1000",
    "MinRTT": "MinRTTUs / 1000",
    "SumRTT": "(HCSumRTTUs / 1000) & 4294967295",
    "HCSumRTT": "HCSumRTTUs / 1000",
    "MaxRTO": "MaxRTOUs / 1000",
    "MinRTO": "MinRTOUs / 1000",
    "SndMax": "SndNxt",
    "ThruOctetsAcked": "HCThruOctetsAcked & 4294967295",
    "ThruOctetsReceived": "HCThruOctetsReceived & 4294967295",
}

RUN = """
    started_us ended_us end_reason host kernel boot_id version source interval_us flush_us shards
    tables filters unavailable
"""
SNAPSHOT = """
    run_id taken_us interval_us connections batches ops lost lost_finals untracked late merged
    lag_us
"""
CONNECTION = """
    run_id AddressType LocalAddress LocalPort RemAddress RemPort opened_us closed_us close_reason
    origin pid pid_start_ns comm uid cgroup_id netns cookie lost
"""
TEXT = """
    end_reason host kernel boot_id version source tables filters unavailable LocalAddress
    RemAddress close_reason origin comm
"""
# It still runs or is open, or the kernel did not say.
NULLABLE = """
    ended_us end_reason closed_us close_reason pid pid_start_ns comm uid cgroup_id netns
"""


def upgrade() -> None:
    create("run", "run_id", RUN)
    create("snapshot", "snapshot_id", SNAPSHOT, of_run())
    op.create_index("ix_snapshot_taken_us", "snapshot", ["taken_us"])
    create("connection", "ConnectIndex", CONNECTION, of_run())
    op.create_index("ix_connection_local_port", "connection", ["LocalPort"])
    op.create_index("ix_connection_rem_port", "connection", ["RemPort"])
    op.create_index("ix_connection_closed_us", "connection", ["closed_us"])
    for table in SAMPLED:
        create_sampled(table, "ConnectIndex")
    create_sampled("listener", "ListenerIndex")
    for table in ("scalar", "control"):
        op.create_table(
            table, sa.Column("snapshot_id", sa.Integer, primary_key=True), *variables(table)
        )
    op.execute(latest())


def downgrade() -> None:
    op.execute("DROP VIEW latest")
    for table in ("control", "scalar", "listener", *reversed(SAMPLED)):
        op.drop_table(table)
    for table in ("connection", "snapshot", "run"):
        op.drop_table(table)


def create(table: str, key: str, names: str, *constraints: sa.Constraint) -> None:
    """A table of ours: an integer key, and columns that are NOT NULL unless listed above."""
    texts, nullables = TEXT.split(), NULLABLE.split()
    columns = [
        sa.Column(name, sa.Text if name in texts else sa.Integer, nullable=name in nullables)
        for name in names.split()
    ]
    op.create_table(table, sa.Column(key, sa.Integer, primary_key=True), *columns, *constraints)


def of_run() -> sa.ForeignKeyConstraint:
    """Each row belongs to one run."""
    return sa.ForeignKeyConstraint(["run_id"], ["run.run_id"])


def create_sampled(table: str, row: str) -> None:
    """A history: rows in the order of time, found by connection through the unique index."""
    op.create_table(
        table,
        sa.Column("snapshot_id", sa.Integer, nullable=False),
        sa.Column(row, sa.Integer, nullable=False),
        *variables(table),
    )
    op.create_index(f"ux_{table}", table, [row, "snapshot_id"], unique=True)
    op.create_index(f"ix_{table}_snapshot_id", table, ["snapshot_id"])


def variables(table: str) -> list[sa.Column[int]]:
    """A nullable column for each variable, computed if it is derived."""
    return [
        sa.Column(name, sa.Integer, sa.Computed(DERIVED[name], persisted=False))
        if name in DERIVED
        else sa.Column(name, sa.Integer)
        for name in VARIABLES[table].split()
    ]


def latest() -> str:
    """Every connection with its newest row of every sampled table, each joined by rowid."""
    columns = [f"c.{name}" for name in ("ConnectIndex", *CONNECTION.split())]
    joins = list[str]()
    for table in SAMPLED:
        columns += [f"{table}.{name}" for name in VARIABLES[table].split()]
        joins.append(
            f"LEFT JOIN {table} ON {table}.rowid = (SELECT rowid FROM {table} AS n"  # noqa: S608
            " WHERE n.ConnectIndex = c.ConnectIndex ORDER BY n.snapshot_id DESC LIMIT 1)"
        )
    return "\n".join(
        ["CREATE VIEW latest AS SELECT", ",\n".join(columns), "FROM connection AS c", *joins]
    )
