/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is kept for each socket, and the maps.
 *
 * Everything that the kernel does not keep itself lives here as a total, a
 * maximum or a last value, so that a batch is always absolute and a lost one is
 * healed by the next. New event counters belong into struct estats_seen.
 *
 * ESTATS_HOOK_on_… says that a program will be attached, to all the others too;
 * ESTATS_MAKE_on_… that it is made by this run of the compiler, for there may be
 * two (bpf/compiler.py).
 */

#define ESTATS_SK_STORAGE_CREATE	1ULL	/* BPF_SK_STORAGE_GET_F_CREATE */
#define ESTATS_RB_NO_WAKEUP		1ULL
#define ESTATS_RB_FORCE_WAKEUP		2ULL
#define ESTATS_RB_AVAIL_DATA		0ULL
#define ESTATS_MAP_MMAPABLE		1024	/* BPF_F_MMAPABLE */
#define ESTATS_MAP_NO_PREALLOC		1	/* BPF_F_NO_PREALLOC */
#define ESTATS_MAP_CLONE		512	/* BPF_F_CLONE */

/* Whether one of these tables is wanted. A constant: what serves others alone is not compiled. */
#define ESTATS_WANTS(tables)		((ESTATS_TABLES & (tables)) != 0)

#define ESTATS_AF_INET6			10
#define ESTATS_IPPROTO_TCP		6
#define ESTATS_RCV_SHUTDOWN		1
#define ESTATS_INFINITE_SSTHRESH	0x7fffffff
/* What an unlimited amount of octets is shown as. */
#define ESTATS_SATURATED		0xffffffff

#define ESTATS_TSQ_THROTTLED		1	/* bit of sock.sk_tsq_flags */
#define ESTATS_PACING_NEEDED		1	/* sock.sk_pacing_status */
#define ESTATS_TIMER_TLP		5	/* icsk_pending: ICSK_TIME_LOSS_PROBE */
#define ESTATS_TOS_CE			3
#define ESTATS_PF_KTHREAD		0x00200000	/* bit of task_struct.flags */

enum estats_ca_state { ESTATS_CA_OPEN, ESTATS_CA_DISORDER, ESTATS_CA_CWR, ESTATS_CA_RECOVERY,
		       ESTATS_CA_LOSS };

/* enum tcp_state is anonymous in some kernels' BTF, so its values are ours. */
enum estats_tcp_state {
	ESTATS_TCP_ESTABLISHED = 1,
	ESTATS_TCP_SYN_SENT,
	ESTATS_TCP_SYN_RECV,
	ESTATS_TCP_FIN_WAIT1,
	ESTATS_TCP_FIN_WAIT2,
	ESTATS_TCP_TIME_WAIT,
	ESTATS_TCP_CLOSE,
	ESTATS_TCP_CLOSE_WAIT,
	ESTATS_TCP_LAST_ACK,
	ESTATS_TCP_LISTEN,
	ESTATS_TCP_CLOSING,
	ESTATS_TCP_NEW_SYN_RECV,
};

enum estats_life {
	ESTATS_LIFE_NEW = 0,	/* memory just given by the storage map */
	ESTATS_LIFE_PENDING,	/* not known yet whether it is wanted: nothing is sent */
	ESTATS_LIFE_LIVE,
	ESTATS_LIFE_IGNORED,	/* filtered out, or left out: every hook leaves at once */
	ESTATS_LIFE_CLOSED,	/* the final batch was offered */
	ESTATS_LIFE_GONE,	/* beyond the bound: its state is about to be given back */
};

/* Bits of estats_seen.have: which of its last values were ever set. */
enum estats_have {
	ESTATS_HAVE_RTT = 1,
	ESTATS_HAVE_RWIN_SENT = 2,
	ESTATS_HAVE_TOS_OUT = 4,
	ESTATS_HAVE_SSTHRESH = 8,
	ESTATS_HAVE_RTO = 16,
	ESTATS_HAVE_MSS = 32,
};

/* What the hooks saw: read and changed under the socket's lock, but for the
 * fields of the ingress hook (data_octets_in, ip_*), which runs before it.
 */
struct estats_seen {
	u64 data_octets_in;
	u64 rtt_sum_us;
	u32 have;
	u32 srtt;		/* tcp_sock.srtt_us and mdev_us at the last look */
	u32 mdev;
	u32 rtt_us;
	u32 rtt_max_us;
	u32 rtt_min_us;
	u32 rtt_count;
	u32 rtt_high;		/* samples above --rtt-threshold */
	u32 rto_max;		/* jiffies */
	u32 rto_min;
	u32 pipe_max;
	u32 retx_max;
	u32 reasm;		/* when the last segment left: what came out of order is answered */
	u32 reasm_max;
	u32 wqueue_max;
	u32 rqueue_max;
	u32 rwin_sent;
	u32 rwin_sent_max;
	u32 ss_cwnd_max;
	u32 ca_cwnd_max;
	u32 ssthresh_max;
	u32 ssthresh_min;
	u32 mss_max;
	u32 mss_min;
	u8 ip_ttl;
	u8 ip_tos_in;
	u8 ip_tos_out;
	u8 ip_in_seen;		/* not in have: the ingress hook has no lock */
	/* Only where the gauges moved without an event is a quiet socket sent
	 * again: the sequence numbers as they were in the last batch.
	 */
	u32 write_seq;
	u32 copied_seq;
	u32 snd_una;
};

/* Bits of estats_syn.options. */
enum estats_syn_options { ESTATS_SYN_SEEN = 1, ESTATS_SYN_SCALE = 2, ESTATS_SYN_SACK = 4,
			  ESTATS_SYN_STAMPS = 8, ESTATS_SYN_ECN = 16 };

/* What one end's SYN or SYN-ACK offered, where a hook saw it: the end that opens. */
struct estats_syn {
	u16 mss;
	u8 scale;
	u8 options;
};

/* Totals that only events move. The sweep reads them as they are. Those of the
 * ingress hook, which runs without the lock, are words of their own.
 */
struct estats_events {
	u64 pre_cong_rtt_us;
	u64 post_cong_rtt_us;
	u32 cong_signals;
	u32 timeouts;
	u32 subsequent_timeouts;
	u32 abrupt_timeouts;
	u32 fast_retran;
	u32 spurious_fr;
	u32 spurious_rto;
	u32 cong_over;
	u32 pre_cong_cwnd;
	u32 post_cong_count;
	u32 slow_start;
	u32 cong_avoid;
	u32 other_reductions;
	u32 other_reductions_cv;
	u32 send_stall;
	u32 lost_retransmits;
	u32 rack_lost;
	u32 soft_errors;
	u32 soft_error_reason;
	/* egress */
	u32 zero_rwin_sent;
	u32 dup_acks_out;
	u32 dup_ack_episodes;
	u32 ece_sent;
	/* ingress */
	u32 zero_rwin_rcvd;
	u32 dup_acks_in;
	u32 sacks_rcvd;
	u32 sack_blocks_rcvd;
	u32 ecn_signals;
	u32 ce_rcvd;
	u32 non_recov_da;
	u32 non_recov_episodes;
	u32 octets_reordered;
};

/* What was seen last, to tell what is new. */
struct estats_shadow {
	u32 undo_marker;
	u32 cwnd;		/* segments, at the last tcp_probe; 0 after a signal */
	u32 ssthresh;
	s32 undo_retrans;
	u32 dsacks;		/* tcp_sock.dsack_dups */
	u32 lost;		/* tcp_sock.lost */
	u32 ack_out;
	u32 ack_in;
	u32 dup_run;		/* duplicate ACKs since the last advancing one */
	u16 window_out;
	u16 window_in;
	u8 episode;		/* the congestion state whose undo is awaited */
	u8 post_pending;	/* the next RTT sample follows a congestion signal */
	u8 from_egress;		/* the last hook was egress: we are still sending */
	u8 hint;		/* a duplicate ACK or an echo since the last advancing ACK */
	u8 ece_out;
	u8 ca_state;
	u8 acked_out;
	u8 in_run;		/* of duplicate ACKs sent */
};

#define ESTATS_LIMS	8	/* six states: a power of two lets an index be masked */

/* Who holds the sender back (SndLim*): see limits.bpf.c. */
struct estats_limits {
	u64 time_ns[ESTATS_LIMS];
	u64 since_ns;		/* the present state is accounted for up to here */
	u64 candidate_ns;
	u32 transitions[ESTATS_LIMS];
	u8 state;
	u8 candidate;
	u8 has_candidate;
	u8 unused[5];
};

struct estats_socket {
	u64 id;
	u64 start_ns;
	u64 flushed_us;		/* tcp_mstamp of the last batch */
	u64 pid_start_ns;
	u64 listener;		/* the cookie of who accepts it, 0 if unknown */
	u32 sent;		/* batches offered so far */
	u32 flags;		/* enum estats_flag */
	u32 pid;
	u16 shard;
	u8 life;
	u8 generation;		/* reconnects of this socket */
	u8 dirty;		/* something happened since the last batch */
	u8 handshaken;
	u8 tcp_state;		/* after the last transition that was seen */
	u8 has_past;		/* data_octets_in lacks what came before us */
	u8 counted;		/* is in estats_counters.opened */
	u8 resync;		/* estats_counters.resync when the sweep last looked */
	u16 admission;		/* 0: told of from its beginning; else which turn, so that no two of
				 * its ids are alike: it was met later, evicted or beyond the bound
				 */
	struct estats_syn syn_out;
	struct estats_syn syn_in;
	char comm[16];
	struct estats_seen seen;
	struct estats_events events;
	struct estats_shadow shadow;
	struct estats_limits limits;
};

/* Our own counters: one row for each CPU and shard. bpf/loader.py maps it. */
struct estats_counters {
	u64 lost;
	u64 lost_finals;
	u64 untracked;
	u64 overflowed;		/* finals waiting in the overflow map, ever */
	u64 opened;		/* connections to be told of, and how many of them were seen to */
	u64 ended;		/* end: the rest live, or their end reached no hook */
	u64 sampled_out;	/* connections that were left out to keep to a budget */
	u64 resync;		/* set by user space, in the row of CPU 0: all is to be sent again */
	u64 evicted;		/* of those that ended: idle, they made room for others */
};

/* How many connections are tracked, and may be. User space maps it, and writes all but the first. */
struct estats_bound {
	u64 tracked;		/* opened, not evicted, and not seen to end */
	u64 unseen;		/* of them have ended all the same */
	u64 most;
	u64 idle_us;		/* the sweep evicts whose tcp_mstamp is older; 0: nobody's */
	u64 evictions;		/* how often it was told to */
};

/* Segments that were sent again: whether as a tail loss probe. Old ones make room. */
struct estats_retransmitted {
	u64 id;
	u64 seq;
};

BPF_SK_STORAGE(sockets, struct estats_socket);
BPF_RINGBUF_OUTPUT(ring_template, 1);
BPF_ARRAY_OF_MAPS(rings, "ring_template", ESTATS_CPUS * ESTATS_SHARDS);
BPF_F_TABLE("array", u32, struct estats_counters, counters, ESTATS_CPUS * ESTATS_SHARDS,
	    ESTATS_MAP_MMAPABLE);
BPF_F_TABLE("array", u32, struct estats_bound, bound, 1, ESTATS_MAP_MMAPABLE);
/* Final batches that found no room in their ring, and the blank they start as. */
BPF_F_TABLE("hash", u64, struct estats_batch, finals, ESTATS_FINALS_MAX, ESTATS_MAP_NO_PREALLOC);
BPF_F_TABLE("lru_hash", struct estats_retransmitted, u8, retransmitted,
	    ESTATS_RETRANSMITTED_MAX, 0);
BPF_ARRAY(blank, struct estats_batch, 1);

#ifdef ESTATS_BUDGET
/* What user space sets while the programs run. All 0: as they were compiled. */
struct estats_settings {
	u32 flush_us;		/* between two batches of a connection, if it is longer than asked for */
	u32 sample_bits;	/* of 2^n new connections one is tracked */
};
BPF_ARRAY(settings, struct estats_settings, 1);
#endif

/* A value that clang must have in a register here. Else it may choose between two
 * addresses and load once, and the verifier knows one kind of pointer for a load.
 */
#define estats_pin(value)	asm volatile("" : "+r"(value))

#define estats_max(a, b) ((a) > (b) ? (a) : (b))
#define estats_min(a, b) ((a) < (b) ? (a) : (b))

static __always_inline u32 estats_ring_of(u16 shard)
{
	return bpf_get_smp_processor_id() * ESTATS_SHARDS + shard;
}

static __always_inline struct estats_counters *estats_count(u16 shard)
{
	u32 ring = estats_ring_of(shard);

	return counters.lookup(&ring);
}

static __always_inline bool estats_is_live(struct estats_socket *s)
{
	return s && (s->life == ESTATS_LIFE_LIVE || s->life == ESTATS_LIFE_PENDING);
}

static __always_inline struct sock *estats_sock(struct tcp_sock *tp)
{
	return &tp->inet_conn.icsk_inet.sk;
}
