/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Congestion signals, timeouts, recoveries and what was taken back, growth and
 * other reductions of the congestion window.
 */

/* What the next hook holds the end of an episode against. */
static __always_inline void estats_shadow_undo(struct estats_socket *s, struct tcp_sock *tp)
{
	s->shadow.undo_marker = tp->undo_marker;
	s->shadow.undo_retrans = tp->undo_retrans;
	s->shadow.dsacks = tp->dsack_dups;
}

/* The episode's reduction was taken back. */
static __always_inline void estats_undone(struct estats_socket *s, struct tcp_sock *tp)
{
	if (s->shadow.episode == ESTATS_CA_RECOVERY)
		s->events.spurious_fr++;
	else if (s->shadow.episode == ESTATS_CA_LOSS)
		s->events.spurious_rto++;
	if (tp->prior_ssthresh)
		s->events.cong_over++;
	s->shadow.cwnd = 0;	/* restored: neither growth nor reduction */
}

static __always_inline void estats_note_undo(struct estats_socket *s, struct tcp_sock *tp)
{
	if (estats_is_undone(s, tp))
		estats_undone(s, tp);
	estats_shadow_undo(s, tp);
}

/*
 * The end of one episode and the begin of the next may lie between two hooks,
 * which then find a new undo_marker: a D-SACK undoes and, in the same ACK or at
 * the timer, something is lost again. Undone it was, if D-SACKs have come for
 * all that had been retransmitted; -1 is that nothing had been. CWR has no marker:
 * where there is one still, its answer to a tail loss probe comes before the undo.
 */
static __always_inline bool estats_is_undone_between(struct estats_socket *s,
						     struct tcp_sock *tp, u8 state)
{
	s32 due = s->shadow.undo_retrans;

	if (state == ESTATS_CA_CWR && tp->undo_marker)
		return false;
	return s->handshaken && s->shadow.undo_marker && due >= 0 &&
	       tp->dsack_dups - s->shadow.dsacks >= due;
}

/* Segments that RACK (without SACK: duplicate ACKs) declared lost. */
static __always_inline void estats_note_lost(struct estats_socket *s, struct tcp_sock *tp)
{
	if (!ESTATS_WANTS(ESTATS_TABLE_STACK))
		return;
	s->events.rack_lost += tp->lost - s->shadow.lost;
	s->shadow.lost = tp->lost;
}

/* A sample, if there is a new one; the first after a signal is kept apart too. */
static __always_inline void estats_note_rtt(struct estats_socket *s, struct tcp_sock *tp)
{
	u32 samples = s->seen.rtt_count;

	estats_observe_rtt(&s->seen, tp);
	if (s->seen.rtt_count != samples && s->shadow.post_pending) {
		s->events.post_cong_rtt_us += s->seen.rtt_us;
		s->events.post_cong_count++;
		s->shadow.post_pending = 0;
	}
}

/* Looks at the socket under its lock: what the kernel has and what has changed. */
static __always_inline void estats_look(struct estats_socket *s, struct tcp_sock *tp)
{
	estats_note_rtt(s, tp);
	estats_observe_windows(&s->seen, tp);
	estats_observe_marks(&s->seen, tp);
}

/* One call for each ACK. */
static __always_inline void estats_note_growth(struct estats_socket *s, struct tcp_sock *tp)
{
	u32 before = s->shadow.cwnd, ssthresh = s->shadow.ssthresh;
	u8 state = tp->inet_conn.icsk_ca_state, growth = estats_growth(s, tp);

	/* The window before is what a congestion signal of the path finds, too. */
	if (!ESTATS_WANTS(ESTATS_TABLE_PATH | ESTATS_TABLE_STACK | ESTATS_TABLE_EXTRAS))
		return;
	if (growth == ESTATS_GROWTH_SLOW_START)
		s->events.slow_start++;
	if (growth == ESTATS_GROWTH_AVOIDANCE)
		s->events.cong_avoid++;
	if (growth == ESTATS_GROWTH_REDUCTION) {
		s->events.other_reductions++;
		/* Window validation sets the threshold to three quarters of the old window,
		 * or leaves it higher, and is not for who controls the window alone (BBR).
		 */
		if (!tp->inet_conn.icsk_ca_ops->cong_control &&
		    tp->snd_ssthresh >= estats_max(ssthresh, (before >> 1) + (before >> 2)))
			s->events.other_reductions_cv++;
	}
	s->shadow.cwnd = state == ESTATS_CA_CWR || state == ESTATS_CA_RECOVERY ? 0 : tp->snd_cwnd;
	s->shadow.ssthresh = tp->snd_ssthresh;
}

static __always_inline void estats_signal(struct estats_socket *s, struct tcp_sock *tp, u32 cwnd)
{
	s->events.cong_signals++;
	s->events.pre_cong_cwnd += estats_octets(cwnd, tp->mss_cache);
	s->events.pre_cong_rtt_us += s->seen.rtt_us;
	s->shadow.post_pending = 1;
}

/* An RTO. The backoff is raised after this event, so a first timeout still has 0. */
static __always_inline void estats_timeout(struct estats_socket *s, struct tcp_sock *tp,
					   u8 old_state)
{
	/* At once after an RTO snd_cwnd is what is in flight and one more. */
	u32 prior = tp->prior_cwnd, cwnd = s->shadow.cwnd;

	estats_pin(prior);
	if (old_state < ESTATS_CA_LOSS || !cwnd)
		cwnd = prior;
	if (tp->inet_conn.icsk_backoff)
		s->events.subsequent_timeouts++;
	else
		s->events.timeouts++;
	if (old_state == ESTATS_CA_OPEN && !tp->sacked_out && !s->shadow.hint)
		s->events.abrupt_timeouts++;
	estats_signal(s, tp, cwnd);
}

/*
 * A retransmission for path MTU passes through Loss too. It leaves nothing to undo
 * and the timer pending; so does a timeout within CWR, but for the timer.
 */
static __always_inline bool estats_is_timeout(struct tcp_sock *tp, u8 old_state)
{
	return old_state == ESTATS_CA_LOSS || tp->prior_ssthresh || tp->undo_marker ||
	       !tp->inet_conn.icsk_pending;
}

/* From one congestion state to another; prior_cwnd is the window as it was at entry. */
static __always_inline void estats_note_state(struct estats_socket *s, struct tcp_sock *tp,
					      u8 old_state, u8 state)
{
	if (state <= ESTATS_CA_DISORDER)
		estats_note_undo(s, tp);
	else if (old_state <= ESTATS_CA_DISORDER && estats_is_undone_between(s, tp, state))
		estats_undone(s, tp);
	if (state == ESTATS_CA_CWR && old_state < ESTATS_CA_CWR) {
		if (s->shadow.from_egress)
			s->events.send_stall++;
		estats_signal(s, tp, tp->prior_cwnd);
	}
	if (state == ESTATS_CA_RECOVERY) {
		s->events.fast_retran++;
		if (old_state != ESTATS_CA_CWR && old_state != ESTATS_CA_RECOVERY)
			estats_signal(s, tp, tp->prior_cwnd);
	}
	if (state == ESTATS_CA_LOSS && estats_is_timeout(tp, old_state)) {
		estats_timeout(s, tp, old_state);
		estats_limits_timeout(s);
	}
	if (state == ESTATS_CA_LOSS)
		s->shadow.lost = tp->lost;	/* marked by the timeout, not by RACK */
	if (state >= ESTATS_CA_CWR) {
		estats_shadow_undo(s, tp);
		s->shadow.cwnd = 0;
	}
	if (state >= ESTATS_CA_RECOVERY) {
		s->shadow.episode = state;	/* CWR after a tail loss probe leaves it undoable */
		s->shadow.dup_run = 0;
	}
	s->shadow.ca_state = state;
}

/*
 * The kernel does not run a tracing program that an interrupt found running on
 * the same CPU. What the next hook finds in another state than it was left in
 * has changed without us. So has what it finds in the same state of another
 * episode, which begins with a marker of its own; while the kernel changes from
 * one to the other the marker comes first, and tells nothing.
 */
static __always_inline void estats_catch_up(struct estats_socket *s, struct tcp_sock *tp,
					    bool changing)
{
	u8 state = tp->inet_conn.icsk_ca_state, old_state = s->shadow.ca_state;

	if (!changing && state >= ESTATS_CA_RECOVERY && state == old_state && tp->undo_marker &&
	    tp->undo_marker != s->shadow.undo_marker)
		old_state = ESTATS_CA_DISORDER;
	if (state != old_state)
		estats_note_state(s, tp, old_state, state);
}

/* What the segments up to now have done, under the lock. */
static __always_inline void estats_acknowledged(struct estats_socket *s, struct tcp_sock *tp)
{
	estats_look(s, tp);
	estats_catch_up(s, tp, false);
	estats_note_undo(s, tp);
	estats_note_growth(s, tp);
	estats_note_lost(s, tp);
	estats_limits_acked(s, tp);
}

/* The old state is in the socket still; the window is cut already for Loss only. */
#ifdef ESTATS_MAKE_on_tcp_cong_state_set
int on_tcp_cong_state_set(u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	struct estats_socket *s;
	struct tcp_sock *tp;

	s = sockets.sk_storage_get(sk, 0, 0);
	if (!estats_is_live(s))
		return 0;
	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return 0;
	if (s->handshaken)
		estats_note_rtt(s, tp);
	estats_catch_up(s, tp, true);
	estats_note_state(s, tp, s->shadow.ca_state, ctx[1]);
	s->dirty = 1;
	return 0;
}
#endif

/*
 * The kernel counts a retransmission lost when it marks it so, where no hook is:
 * here it is counted when the same segment is sent once more. One that is
 * acknowledged before is missed, and no field tells: tcp_sock.lost has the first
 * marks too, and what leaves lost_out with an ACK may or may not have been sent
 * again. A tail loss probe sends again what was not lost.
 */
#ifdef ESTATS_MAKE_on_tcp_retransmit_skb
int on_tcp_retransmit_skb(u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	struct sk_buff *skb = (struct sk_buff *)ctx[1];
	struct tcp_skb_cb *cb = (struct tcp_skb_cb *)skb->cb;
	struct estats_retransmitted key = {};
	struct estats_socket *s;
	struct tcp_sock *tp;
	u32 segments;
	u8 *was_probe, is_probe;

#if ESTATS_HOOK_on_tcp_retransmit_skb >= 3
	if ((s32)ctx[2])	/* it did not leave; older kernels do not tell of those */
		return 0;
#endif
	s = sockets.sk_storage_get(sk, 0, 0);
	if (!estats_is_live(s))
		return 0;
	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return 0;
	key.id = s->id;
	key.seq = cb->seq;
	segments = cb->tcp_gso_segs ? cb->tcp_gso_segs : 1;
	is_probe = tp->inet_conn.icsk_pending == ESTATS_TIMER_TLP;
	was_probe = retransmitted.lookup(&key);
	if (was_probe && !*was_probe && !is_probe)
		s->events.lost_retransmits += segments;
	retransmitted.update(&key, &is_probe);
	s->dirty = 1;
	return 0;
}
#endif

/* One end has sent its FIN: the other's acknowledgements pass no tcp_probe. */
static __always_inline bool estats_is_closing(struct sock *sk)
{
	u8 state = sk->__sk_common.skc_state;

	return state == ESTATS_TCP_CLOSE_WAIT || state == ESTATS_TCP_FIN_WAIT1 ||
	       state == ESTATS_TCP_LAST_ACK || state == ESTATS_TCP_CLOSING;
}

/* A bare acknowledgement of a closing connection is dropped, for no reason, once
 * it has been processed, the lock still held.
 */
static __always_inline void estats_consumed(struct sock *sk)
{
	struct estats_socket *s;
	struct tcp_sock *tp;

	if (!estats_is_closing(sk))
		return;
	s = sockets.sk_storage_get(sk, 0, 0);
	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp || !estats_is_live(s) || !s->handshaken)
		return;
	estats_acknowledged(s, tp);
	s->dirty = 1;
}

/* A segment that was received for a socket and dropped for failing a test. */
#ifdef ESTATS_MAKE_on_kfree_skb
int on_kfree_skb(u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[3];
	u32 reason = estats_soft_error(ctx[2]);
	struct estats_socket *s;

	if (!sk)
		return 0;
	if (ctx[2] == ESTATS_DROP_NOT_SPECIFIED)
		estats_consumed(sk);
	if (!reason)
		return 0;
	s = sockets.sk_storage_get(sk, 0, 0);
	if (!estats_is_live(s))
		return 0;
	__sync_fetch_and_add(&s->events.soft_errors, 1);
	s->events.soft_error_reason = reason;
	s->dirty = 1;
	return 0;
}
#endif
