/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Sockets appear, are identified, close.
 */

static __always_inline void estats_own(struct estats_socket *s)
{
	struct task_struct *leader = bpf_get_current_task_btf()->group_leader;

	s->pid = bpf_get_current_pid_tgid() >> 32;
	s->pid_start_ns = leader->start_boottime;
	bpf_probe_read_kernel_str(s->comm, sizeof(s->comm), leader->comm);
	s->flags |= ESTATS_FLAG_OWNER;
}

/* Fibonacci hashing: cookies are consecutive. */
static __always_inline u32 estats_hash(u64 id)
{
	return id * 11400714819323198485ULL >> 32;
}

/* Whether the budget has no room for a connection: by the highest bits of its hash, for the shard
 * is told by the lowest. Who is tracked where one of four is, is so too where one of two is.
 */
static __always_inline bool estats_is_left_out(struct estats_socket *s)
{
#ifdef ESTATS_BUDGET
	u32 zero = 0;
	struct estats_settings *now = settings.lookup(&zero);

	if (s->admission)	/* it had its turn where it began */
		return false;
	return now && (u64)estats_hash(s->id) >> (32 - now->sample_bits);
#else
	return false;
#endif
}

/* Whether as many are tracked as may be. Those that processors admit at the same moment
 * may be one too many each.
 */
static __always_inline bool estats_is_full(void)
{
	u32 zero = 0;
	struct estats_bound *b = bound.lookup(&zero);

	return b && (s64)(b->tracked - b->unseen) >= (s64)b->most;
}

/* Not tracked. Who is met later, not where it began, has been counted there. */
static __always_inline void estats_untracked(u16 shard, bool met)
{
	struct estats_counters *c = estats_count(shard);

	if (c && !met)
		__sync_fetch_and_add(&c->untracked, 1);
}

/* It is wanted: the one moment at which it may be left out all the same, and is counted. */
static __always_inline u8 estats_admit(struct estats_socket *s)
{
	struct estats_counters *c;

	if (estats_is_left_out(s)) {
		c = estats_count(s->shard);
		if (c)
			__sync_fetch_and_add(&c->sampled_out, 1);
		return ESTATS_LIFE_IGNORED;
	}
	if (!estats_is_full())
		return ESTATS_LIFE_LIVE;
	estats_untracked(s->shard, s->admission);
	return ESTATS_LIFE_GONE;
}

/* Is it asked for at all? Asked again until the answer can be known: connect()
 * enters SYN_SENT before it picks a local port, and an accepted connection has
 * no owner before its first read. The answer is the same whoever asks first.
 */
static __always_inline void estats_decide(struct tcp_sock *tp, struct estats_socket *s)
{
	struct estats_identity who = {};

	if (s->life != ESTATS_LIFE_PENDING || !tp->inet_conn.icsk_inet.inet_sport)
		return;
	estats_fill_tuple(&who, tp);
	if (!estats_wants_tuple(&who))
		s->life = ESTATS_LIFE_IGNORED;
	else if (!ESTATS_FILTERS_OWNER)
		s->life = estats_admit(s);
	else if (s->flags & ESTATS_FLAG_OWNER)
		s->life = estats_wants_owner(s->pid, s->comm) ? estats_admit(s) :
								ESTATS_LIFE_IGNORED;
}

/* A connection more, or less, of those that are bounded. */
static __always_inline void estats_tracked(s64 more)
{
	u32 zero = 0;
	struct estats_bound *b = bound.lookup(&zero);

	if (b)
		__sync_fetch_and_add(&b->tracked, more);
}

/* Opened and ended, so that an end that no hook sees is missed. Only the hooks
 * count, for they hold the socket's lock; the sweep decides without it.
 */
static __always_inline void estats_count_opened(struct estats_socket *s)
{
	struct estats_counters *c = estats_count(s->shard);

	if (!c || s->life != ESTATS_LIFE_LIVE || s->counted)
		return;
	s->counted = 1;
	__sync_fetch_and_add(&c->opened, 1);
	estats_tracked(1);
}

static __always_inline void estats_count_ended(struct estats_socket *s)
{
	struct estats_counters *c = estats_count(s->shard);

	estats_count_opened(s);
	if (c)
		__sync_fetch_and_add(&c->ended, 1);
	estats_tracked(-1);
}

/* Who finds no room keeps no memory, either: the next segment that finds some makes it anew. */
static __always_inline void estats_decide_and_count(struct tcp_sock *tp, struct estats_socket *s)
{
	estats_decide(tp, s);
	estats_count_opened(s);
	if (s->life == ESTATS_LIFE_GONE)
		sockets.sk_storage_delete((struct sock *)tp);
}

/* A number that nobody has who was evicted before: the sweep evicts after it was counted. */
static __always_inline u16 estats_admission(void)
{
	u32 zero = 0;
	struct estats_bound *b = bound.lookup(&zero);

	return b ? b->evictions % 0xffff + 1 : 1;
}

static __always_inline void estats_identify(struct sock *sk, struct estats_socket *s, u32 flags,
					    bool met)
{
	u64 cookie = bpf_get_socket_cookie(sk);
	u8 generation = s->life == ESTATS_LIFE_NEW ? 0 : s->generation + 1;

	__builtin_memset(s, 0, sizeof(*s));
	s->generation = generation;
	/* Cookies made in an interrupt count down from 2^64: xor keeps those apart too. */
	s->admission = met ? estats_admission() : 0;
	s->id = cookie ^ (u64)generation << 56 ^ (u64)s->admission << 40;
	s->shard = estats_hash(cookie) % ESTATS_SHARDS;
	s->flags = flags;
	s->start_ns = bpf_ktime_get_ns();
	s->flushed_us = s->start_ns / 1000;	/* the first batch waits like any other */
	s->dirty = 1;
}

/* What the handshake acknowledged and offered, for the next segment to be held against. */
static __always_inline void estats_shadow_start(struct estats_socket *s, struct tcp_sock *tp)
{
	s->shadow.ack_in = tp->snd_una;
	s->shadow.window_in = tp->snd_wnd >> (tp->rx_opt.snd_wscale & 15);
	s->shadow.ack_out = tp->rcv_nxt;
	s->shadow.window_out = tp->rcv_wnd >> (tp->rx_opt.rcv_wscale & 15);
	s->shadow.acked_out = 1;
}

/* The SYN-ACK left before its socket was there. Its window is not scaled. */
static __always_inline void estats_answered(struct estats_socket *s, struct tcp_sock *tp)
{
	s->has_past = !!tp->data_segs_in;
	s->seen.rwin_sent = s->seen.rwin_sent_max = estats_min(tp->rcv_wnd, 0xffff);
	s->seen.have |= ESTATS_HAVE_RWIN_SENT;
}

/* State for a connection that this end opens, accepted or is found open. A
 * socket that connects again is a new connection.
 */
static __always_inline struct estats_socket *estats_open(struct sock *sk, struct tcp_sock *tp,
							 u32 flags, bool met)
{
	struct estats_socket *s = sockets.sk_storage_get(sk, 0, ESTATS_SK_STORAGE_CREATE);

	if (!s) {
		estats_untracked(0, met);
		return 0;
	}
	if (s->life != ESTATS_LIFE_NEW && s->life != ESTATS_LIFE_CLOSED)
		return s;
	estats_identify(sk, s, flags, met);
	s->life = ESTATS_LIFE_PENDING;
	estats_decide_and_count(tp, s);
	if (s->life == ESTATS_LIFE_GONE)
		return 0;
	if (flags & ESTATS_FLAG_BACKFILL) {
		estats_shadow_start(s, tp);
		s->handshaken = estats_sock(tp)->__sk_common.skc_state != ESTATS_TCP_SYN_SENT;
		s->seen.data_octets_in = tp->bytes_received;
	}
	if (flags & ESTATS_FLAG_PASSIVE)
		estats_answered(s, tp);
	s->shadow.lost = tp->lost;
	estats_shadow_undo(s, tp);
	s->shadow.ca_state = tp->inet_conn.icsk_ca_state;
	s->tcp_state = estats_sock(tp)->__sk_common.skc_state;
	estats_limits_start(s);
	return s;
}

/* A socket that a hook meets without state was there before the hooks were, was evicted,
 * or found no room when it began.
 */
static __always_inline struct estats_socket *estats_meet(struct sock *sk, struct tcp_sock *tp)
{
	struct estats_socket *s = sockets.sk_storage_get(sk, 0, 0);

	return s || estats_is_full() ? s : estats_open(sk, tp, ESTATS_FLAG_BACKFILL, true);
}

static __always_inline void estats_closed(struct tcp_sock *tp, struct estats_socket *s,
					  u8 old_state)
{
	if (s->life == ESTATS_LIFE_LIVE) {
		estats_count_ended(s);
		if (s->handshaken) {
			estats_look(s, tp);
			estats_catch_up(s, tp, false);
			estats_note_undo(s, tp);
			estats_note_lost(s, tp);
		}
		estats_send_final(tp, s, old_state);
	}
	s->life = ESTATS_LIFE_CLOSED;
}

/* connect() is process context; softirq's current is never asked. Further subflows
 * of MPTCP, which is a ULP from the start, are connected by a worker of the kernel.
 */
static __always_inline void estats_connecting(struct sock *sk, struct tcp_sock *tp)
{
	struct estats_socket *s = estats_open(sk, tp, ESTATS_FLAG_ACTIVE, false);

	if (!s || s->life == ESTATS_LIFE_IGNORED)
		return;
	if (!tp->inet_conn.icsk_ulp_ops ||
	    !(bpf_get_current_task_btf()->flags & ESTATS_PF_KTHREAD))
		estats_own(s);
	estats_decide_and_count(tp, s);
}

#ifdef ESTATS_MAKE_on_inet_sock_set_state
int on_inet_sock_set_state(u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	u8 old_state = ctx[1], state = ctx[2];
	struct tcp_sock *tp;
	struct estats_socket *s;

	if (sk->sk_protocol != ESTATS_IPPROTO_TCP)
		return 0;
	if (state == ESTATS_TCP_LISTEN || old_state == ESTATS_TCP_LISTEN) {
#ifdef ESTATS_HOOK_on_listeners
		estats_listener_changed(sk, state);
#endif
		return 0;
	}
	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return 0;
	if (state == ESTATS_TCP_SYN_SENT) {
		estats_connecting(sk, tp);
		return 0;
	}
	/* A child that dies before its handshake is done never was a connection. */
	if (old_state == ESTATS_TCP_SYN_RECV && state == ESTATS_TCP_CLOSE)
		s = sockets.sk_storage_get(sk, 0, 0);
	else if (old_state == ESTATS_TCP_SYN_RECV)
		s = estats_open(sk, tp, ESTATS_FLAG_PASSIVE, false);
	else
		s = estats_meet(sk, tp);
#ifdef ESTATS_HOOK_on_listeners
	estats_child_changed(sk, tp, old_state, state);
#endif
	if (!s)
		return 0;
	estats_decide_and_count(tp, s);
	s->tcp_state = state;
	if (state == ESTATS_TCP_CLOSE) {
		estats_closed(tp, s, old_state);
		return 0;
	}
	/* The SYN is still outstanding here: the next hook looks at the rest. */
	if (state != ESTATS_TCP_SYN_RECV && !s->handshaken) {
		s->handshaken = 1;
		estats_shadow_start(s, tp);
		estats_lim_enter(&s->limits, ESTATS_LIM_SENDER, bpf_ktime_get_ns());
	}
	s->dirty = 1;
	return 0;
}
#endif

/* The end of a socket: for those whose transition to CLOSE went unseen (on_inet_sock_set_state
 * is skipped where an interrupt finds it running).
 */
#ifdef ESTATS_MAKE_on_tcp_destroy_sock
int on_tcp_destroy_sock(u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	struct estats_socket *s = sockets.sk_storage_get(sk, 0, 0);
	struct tcp_sock *tp;

#ifdef ESTATS_HOOK_on_listeners
	estats_listener_gone(sk);
#endif
	if (!estats_is_live(s))
		return 0;
	tp = bpf_skc_to_tcp_sock(sk);
	if (tp)
		estats_closed(tp, s, s->tcp_state);
	return 0;
}
#endif

/*
 * The first read of an accepted connection runs in its reader's context. The
 * lock is owned only by a process: kTLS and the like read in softirq.
 */
#ifdef ESTATS_MAKE_on_tcp_rcv_space_adjust
int on_tcp_rcv_space_adjust(u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	struct estats_socket *s = sockets.sk_storage_get(sk, 0, 0);
	struct tcp_sock *tp;

	if (!estats_is_live(s))
		return 0;
	s->dirty = 1;
	if (!(s->flags & ESTATS_FLAG_OWNER) && sk->sk_lock.owned) {
		estats_own(s);
		tp = bpf_skc_to_tcp_sock(sk);
		if (tp)
			estats_decide_and_count(tp, s);
	}
	return 0;
}
#endif
