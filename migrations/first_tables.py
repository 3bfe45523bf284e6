"""The tables of variables as revision 0001 made them, and 0004 makes them again on its way back.

The lists of names are what the catalogue held when 0001 was written. They stay as they are: a
variable that joins the catalogue later gets its column in a later revision.
"""

import sqlalchemy as sa
from alembic import op

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

CONNECTION = """
    run_id AddressType LocalAddress LocalPort RemAddress RemPort opened_us closed_us close_reason
    origin pid pid_start_ns comm uid cgroup_id netns cookie lost
"""


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
