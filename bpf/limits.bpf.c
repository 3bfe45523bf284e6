/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who holds the sender back: all time of a connection belongs to one of six
 * states. The kernel knows the reason at the end of each attempt to send, where
 * no hook is. So each data segment that leaves gives a candidate, evaluated on
 * what the fields will be once it is sent, and what comes next tells whether the
 * sender really stopped there:
 *
 *   egress    right after: the same loop goes on, the candidate is replaced;
 *             after a pause: it was a stop that a timer or tasklet ended
 *   tcp_probe an ACK ends it
 *   sendmsg   the application ends it; or it begins here, if nothing may leave
 *   RTO       the time since the stop belonged to the congestion window
 */

enum { ESTATS_LIM_SENDER, ESTATS_LIM_CWND, ESTATS_LIM_RWIN, ESTATS_LIM_STARTUP,
       ESTATS_LIM_TSODEFER, ESTATS_LIM_PACE };

/* Two segments of one loop are closer than this. */
#define ESTATS_LOOP_NS	100000

/* What keeps ``octets`` from leaving; SENDER, if nothing does. */
static __always_inline u8 estats_lim_held(struct tcp_sock *tp, u32 nxt, u32 in_flight, u32 octets)
{
	u32 room = tp->snd_una + tp->snd_wnd - nxt;

	if (in_flight >= tp->snd_cwnd)
		return ESTATS_LIM_CWND;
	if ((s32)room < (s32)octets)
		return ESTATS_LIM_RWIN;
	return tp->pacing_timer.state ? ESTATS_LIM_PACE : ESTATS_LIM_SENDER;
}

/* Of the fields as they will be when ``nxt`` is the next sequence number. */
static __always_inline u8 estats_lim_of(struct tcp_sock *tp, u32 nxt, u32 in_flight)
{
	u32 queued = tp->write_seq - nxt;
	u8 held;

	if ((s32)queued <= 0)
		return ESTATS_LIM_SENDER;
	held = estats_lim_held(tp, nxt, in_flight, estats_min(queued, tp->mss_cache));
	if (held != ESTATS_LIM_SENDER)
		return held;
	if (estats_sock(tp)->sk_tsq_flags & ESTATS_TSQ_THROTTLED)
		return ESTATS_LIM_SENDER;
	return queued >= tp->mss_cache ? ESTATS_LIM_TSODEFER : ESTATS_LIM_SENDER;
}

/* The state was ``lim`` from ``at`` on. */
static __always_inline void estats_lim_enter(struct estats_limits *l, u8 lim, u64 at)
{
	u32 state = l->state & (ESTATS_LIMS - 1);

	if (at > l->since_ns) {
		l->time_ns[state] += at - l->since_ns;
		l->since_ns = at;
	}
	if (lim != state) {
		l->transitions[lim & (ESTATS_LIMS - 1)]++;
		l->state = lim;
	}
}

static __always_inline void estats_limits_start(struct estats_socket *s)
{
	s->limits.state = s->handshaken ? ESTATS_LIM_SENDER : ESTATS_LIM_STARTUP;
	s->limits.transitions[s->handshaken ? ESTATS_LIM_SENDER : ESTATS_LIM_STARTUP] = 1;
	s->limits.since_ns = s->start_ns;
}

/* The stop, if there is one, is over. */
static __always_inline void estats_limits_resume(struct estats_limits *l, u8 lim)
{
	if (l->has_candidate)
		estats_lim_enter(l, lim, l->candidate_ns);
	l->has_candidate = 0;
}

static __always_inline void estats_limits_acked(struct estats_socket *s, struct tcp_sock *tp)
{
	u8 lim = s->limits.candidate;

	/* Deferral and the rest may have become something else meanwhile. */
	if (s->limits.has_candidate && (lim == ESTATS_LIM_TSODEFER || lim == ESTATS_LIM_SENDER))
		lim = estats_lim_of(tp, tp->snd_nxt, estats_in_flight(tp));
	estats_limits_resume(&s->limits, lim);
}

static __always_inline void estats_limits_timeout(struct estats_socket *s)
{
	struct estats_limits *l = &s->limits;

	if (l->has_candidate) {
		estats_limits_resume(l, ESTATS_LIM_CWND);
	} else if (l->state != ESTATS_LIM_CWND) {
		l->transitions[ESTATS_LIM_CWND]++;
		l->state = ESTATS_LIM_CWND;
	}
}

/* At egress of data: snd_nxt and what is in flight do not have it yet. */
static __always_inline void estats_limits_sent(struct estats_socket *s, struct tcp_sock *tp,
					       u32 seq, u32 octets, u32 segments)
{
	struct estats_limits *l = &s->limits;
	u32 nxt = tp->snd_nxt, in_flight = estats_in_flight(tp);
	u64 now = bpf_ktime_get_ns();

	if (l->has_candidate && now - l->candidate_ns > ESTATS_LOOP_NS) {
		if (l->candidate == ESTATS_LIM_TSODEFER &&
		    estats_sock(tp)->sk_pacing_status == ESTATS_PACING_NEEDED)
			l->candidate = ESTATS_LIM_PACE;
		estats_limits_resume(l, l->candidate);
	}
	if (seq == nxt) {
		nxt += octets;
		in_flight += segments;
	}
	l->candidate = estats_lim_of(tp, nxt, in_flight);
	l->candidate_ns = now;
	l->has_candidate = 1;
}

/* Time in one state up to now, the running one and a stop not yet confirmed in it. */
static __always_inline u64 estats_lim_us(struct estats_limits *l, u8 lim, u64 now)
{
	u64 ns = l->time_ns[lim], stop = l->has_candidate ? l->candidate_ns : now;

	if (l->state == lim && stop > l->since_ns)
		ns += stop - l->since_ns;
	if (l->has_candidate && l->candidate == lim && now > stop)
		ns += now - stop;
	return ns / 1000;
}

/* A write into a queue that had run empty stops at once where nothing may leave:
 * no segment tells of that.
 */
static __always_inline void estats_limits_written(struct estats_limits *l, struct tcp_sock *tp)
{
	u8 held = estats_lim_held(tp, tp->snd_nxt, estats_in_flight(tp), tp->mss_cache);

	if (held == ESTATS_LIM_SENDER)
		return;
	l->candidate = held;
	l->candidate_ns = bpf_ktime_get_ns();
	l->has_candidate = 1;
}

/* Every copy of a write: the application has ended a stop. */
#ifdef ESTATS_MAKE_on_tcp_sendmsg_locked
int on_tcp_sendmsg_locked(u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	struct estats_socket *s = sockets.sk_storage_get(sk, 0, 0);
	struct tcp_sock *tp;

	if (!estats_is_live(s))
		return 0;
	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return 0;
	if (ESTATS_WANTS(ESTATS_TABLE_APP))
		s->seen.wqueue_max = estats_max(s->seen.wqueue_max, tp->write_seq - tp->snd_nxt);
	estats_limits_resume(&s->limits, s->limits.candidate);
	if (s->handshaken && s->limits.state == ESTATS_LIM_SENDER)
		estats_limits_written(&s->limits, tp);
	s->dirty = 1;
	return 0;
}
#endif
