/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Looks at a tcp_sock under its lock and keeps what the kernel does not:
 * round-trip samples, high-water and low-water marks.
 */

/* Octets from segments without overflow: no window is larger than 2^32. */
static __always_inline u32 estats_octets(u64 segments, u32 mss)
{
	u64 octets = segments * mss;

	return octets > ESTATS_SATURATED ? ESTATS_SATURATED : octets;
}

static __always_inline u32 estats_in_flight(struct tcp_sock *tp)
{
	return tp->packets_out - (tp->sacked_out + tp->lost_out) + tp->retrans_out;
}

/* RFC 3517's pipe. Outside recovery the sequence space says it to the octet. */
static __always_inline u32 estats_pipe(struct tcp_sock *tp)
{
	if (!(tp->sacked_out | tp->lost_out | tp->retrans_out))
		return tp->snd_nxt - tp->snd_una;
	return estats_octets(estats_in_flight(tp), tp->mss_cache);
}

/* A FIN takes a sequence number but is no octet for the application. */
static __always_inline u32 estats_rqueue(struct tcp_sock *tp, u32 end_seq)
{
	u32 queued = end_seq - tp->copied_seq;

	if ((s32)queued <= 0)
		return 0;
	return estats_sock(tp)->sk_shutdown & ESTATS_RCV_SHUTDOWN ? queued - 1 : queued;
}

/* Sequence space up to the right edge of the out-of-order queue. The last skb
 * is stale while the tree is empty, and without the lock it may be freed.
 */
static __always_inline u32 estats_reasm(struct tcp_sock *tp)
{
	struct sk_buff *last = tp->ooo_last_skb;

	if (!tp->out_of_order_queue.rb_node || !last)
		return 0;
	return ((struct tcp_skb_cb *)last->cb)->end_seq - tp->rcv_nxt;
}

/* Octets taken in order, all life long. A FIN counts there as one. */
static __always_inline u64 estats_taken(struct tcp_sock *tp)
{
	u64 taken = tp->bytes_received;

	return taken && estats_sock(tp)->sk_shutdown & ESTATS_RCV_SHUTDOWN ? taken - 1 : taken;
}

/*
 * The segment that completes a passive handshake, and what Fast Open brings before
 * it, pass the ingress hook without state. The next hook is right behind them.
 */
static __always_inline void estats_note_past(struct estats_socket *s, struct tcp_sock *tp)
{
	struct sk_buff *last = tp->ooo_last_skb;
	struct tcp_skb_cb *cb;
	u64 octets;

	if (!s->has_past)
		return;
	s->has_past = 0;
	octets = estats_taken(tp);
	/* Where the peer's first segment was lost, the second one completed it. */
	if (tp->out_of_order_queue.rb_node && last) {
		cb = (struct tcp_skb_cb *)last->cb;
		octets += cb->end_seq - cb->seq - (cb->tcp_flags & 1);
	}
	__sync_fetch_and_add(&s->seen.data_octets_in, octets);
}

/*
 * The kernel keeps the smoothed RTT, not the samples. One ACK changes it once,
 * srtt += m - (srtt >> 3), so the sample m can be computed back. A sample that
 * changes neither srtt nor mdev is not seen. Where several ACKs came between two
 * looks it may come out below zero: then the mean is all that can be told.
 */
static __always_inline void estats_observe_rtt(struct estats_seen *n, struct tcp_sock *tp)
{
	u32 srtt = tp->srtt_us, mdev = tp->mdev_us, sample;

	if (srtt == n->srtt && mdev == n->mdev)
		return;
	sample = n->srtt ? srtt - n->srtt + (n->srtt >> 3) : srtt >> 3;
	if ((s32)sample < 0)
		sample = srtt >> 3;
	n->srtt = srtt;
	n->mdev = mdev;
	if (!srtt)
		return;
	n->rtt_us = sample;
	n->rtt_sum_us += sample;
	n->rtt_count++;
	if (sample > ESTATS_RTT_THRESHOLD_US)
		n->rtt_high++;
	n->rtt_max_us = estats_max(n->rtt_max_us, sample);
	if (!(n->have & ESTATS_HAVE_RTT) || sample < n->rtt_min_us)
		n->rtt_min_us = sample;
	n->have |= ESTATS_HAVE_RTT;
}

static __always_inline void estats_observe_windows(struct estats_seen *n, struct tcp_sock *tp)
{
	u32 cwnd = estats_octets(tp->snd_cwnd, tp->mss_cache);

	if (!ESTATS_WANTS(ESTATS_TABLE_STACK))
		return;
	if (tp->snd_cwnd < tp->snd_ssthresh)
		n->ss_cwnd_max = estats_max(n->ss_cwnd_max, cwnd);
	else
		n->ca_cwnd_max = estats_max(n->ca_cwnd_max, cwnd);
	if (tp->snd_ssthresh < ESTATS_INFINITE_SSTHRESH) {
		u32 ssthresh = estats_octets(tp->snd_ssthresh, tp->mss_cache);

		n->ssthresh_max = estats_max(n->ssthresh_max, ssthresh);
		if (!(n->have & ESTATS_HAVE_SSTHRESH) || ssthresh < n->ssthresh_min)
			n->ssthresh_min = ssthresh;
		n->have |= ESTATS_HAVE_SSTHRESH;
	}
}

static __always_inline void estats_observe_marks(struct estats_seen *n, struct tcp_sock *tp)
{
	u32 mss = tp->mss_cache, rto = tp->inet_conn.icsk_rto;

	n->pipe_max = estats_max(n->pipe_max, estats_pipe(tp));
	if (ESTATS_WANTS(ESTATS_TABLE_STACK))
		n->retx_max = estats_max(n->retx_max, tp->snd_nxt - tp->snd_una);
	if (ESTATS_WANTS(ESTATS_TABLE_APP)) {
		n->wqueue_max = estats_max(n->wqueue_max, tp->write_seq - tp->snd_nxt);
		n->rqueue_max = estats_max(n->rqueue_max, estats_rqueue(tp, tp->rcv_nxt));
	}
	if (ESTATS_WANTS(ESTATS_TABLE_STACK)) {
		n->mss_max = estats_max(n->mss_max, mss);
		if (!(n->have & ESTATS_HAVE_MSS) || mss < n->mss_min)
			n->mss_min = mss;
		n->have |= ESTATS_HAVE_MSS;
	}
	/* Before the first sample the timer holds the initial second, not a measurement. */
	if (ESTATS_WANTS(ESTATS_TABLE_PATH) && tp->srtt_us) {
		n->rto_max = estats_max(n->rto_max, rto);
		if (!(n->have & ESTATS_HAVE_RTO) || rto < n->rto_min)
			n->rto_min = rto;
		n->have |= ESTATS_HAVE_RTO;
	}
}

/* Needs the established connection: before, MSS and windows hold defaults. */
static __always_inline void estats_observe(struct estats_seen *n, struct tcp_sock *tp)
{
	estats_observe_rtt(n, tp);
	estats_observe_windows(n, tp);
	estats_observe_marks(n, tp);
}

/*
 * All ways of undoing a reduction end in zeroing undo_marker; the normal end of
 * a recovery leaves it. An undo by D-SACK changes no state: no hook sees it
 * before the next segment. That a SYN's timeout was spurious undoes nothing.
 */
static __always_inline bool estats_is_undone(struct estats_socket *s, struct tcp_sock *tp)
{
	return s->handshaken && s->shadow.undo_marker && !tp->undo_marker;
}

enum estats_growth { ESTATS_GROWTH_NONE, ESTATS_GROWTH_SLOW_START, ESTATS_GROWTH_AVOIDANCE,
		     ESTATS_GROWTH_REDUCTION };

/*
 * The net effect on the window of the one ACK since the last tcp_probe. CWR and
 * Recovery reduce step by step, which is their own business; a signal since then
 * has cleared shadow.cwnd.
 */
static __always_inline u8 estats_growth(struct estats_socket *s, struct tcp_sock *tp)
{
	u32 before = s->shadow.cwnd, cwnd = tp->snd_cwnd;
	u8 state = tp->inet_conn.icsk_ca_state;

	if (!before || cwnd == before || state == ESTATS_CA_CWR || state == ESTATS_CA_RECOVERY)
		return ESTATS_GROWTH_NONE;
	if (cwnd < before)
		return state <= ESTATS_CA_DISORDER ? ESTATS_GROWTH_REDUCTION : ESTATS_GROWTH_NONE;
	return before < s->shadow.ssthresh ? ESTATS_GROWTH_SLOW_START : ESTATS_GROWTH_AVOIDANCE;
}
