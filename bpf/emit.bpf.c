/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Sends one batch to ring[cpu x shard].
 *
 * An update is refused while less than a quarter of the ring is free, so that
 * updates never push out closings. A final batch that still finds no room goes
 * to the map "finals", which the worker of its shard drains.
 */

static __always_inline void estats_fill(struct estats_batch *b, struct tcp_sock *tp,
					struct estats_socket *s, struct estats_seen *n, u64 now,
					u32 flags, u8 old_state, u32 rfc_state)
{
	struct sock *sk = estats_sock(tp);

	b->head.id = s->id;
	b->head.sent = s->sent;
	b->head.shard = s->shard;
	b->head.state = flags & ESTATS_FLAG_FINAL ? ESTATS_TCP_CLOSE : sk->__sk_common.skc_state;
	b->head.old_state = old_state;
	b->head.error = sk->sk_err;
	b->head.flags = s->flags | flags | estats_fill_identity(&b->identity, tp, s);
	estats_fill_tables(b, tp, s, n, now, rfc_state, !(flags & ESTATS_FLAG_SWEPT));
	b->head.ts = now;	/* last: a batch in "finals" is whole once it is stamped */
}

static __always_inline void estats_offered(struct tcp_sock *tp, struct estats_socket *s)
{
	s->dirty = 0;
	s->flushed_us = tp->tcp_mstamp;
	s->seen.write_seq = tp->write_seq;
	s->seen.copied_seq = tp->copied_seq;
	s->seen.snd_una = tp->snd_una;
	/* The sweep of another CPU may count at the same time. */
	__sync_fetch_and_add(&s->sent, 1);
}

/* Between two batches of one connection. The look-up is paid for by who has a budget only. */
static __always_inline u64 estats_flush_us(void)
{
#ifdef ESTATS_BUDGET
	u32 zero = 0;
	struct estats_settings *now = settings.lookup(&zero);

	if (now && now->flush_us > ESTATS_FLUSH_US)
		return now->flush_us;
#endif
	return ESTATS_FLUSH_US;
}

/* Whether the sweep should leave this socket for its next round. */
static __always_inline bool estats_is_ring_busy(struct estats_socket *s)
{
	u32 index = estats_ring_of(s->shard);
	void *ring = rings.lookup(&index);

	return ring && bpf_ringbuf_query(ring, ESTATS_RB_AVAIL_DATA) > ESTATS_RING_BYTES / 2;
}

/* Refused for want of room: counted, and sent again by the next event or sweep. */
static __always_inline void estats_refused(struct estats_socket *s)
{
	struct estats_counters *c = estats_count(s->shard);

	s->dirty = 1;
	if (c)
		__sync_fetch_and_add(&c->lost, 1);
}

/* Whether a segment or a system call is being processed: somebody holds the lock. */
static __always_inline bool estats_is_busy(struct sock *sk)
{
	/* The spinlock's first word; a real-time kernel keeps something else there, mostly 0. */
	return sk->sk_lock.owned || *(u32 *)&sk->sk_lock.slock;
}

/* An update; with SWEPT in flags from the sweep, else under the socket's lock. Whether there
 * was room for it.
 */
static __always_inline bool estats_send(struct tcp_sock *tp, struct estats_socket *s,
					struct estats_seen *n, u32 flags)
{
	u32 index = estats_ring_of(s->shard);
	void *ring = rings.lookup(&index);
	struct estats_batch *b = 0;
	u64 used = 0;

	estats_offered(tp, s);
	/* Who has the lock now may have marked the socket before, and is not done; who takes it
	 * later will.
	 */
	if (flags & ESTATS_FLAG_SWEPT && estats_is_busy(estats_sock(tp)))
		s->dirty = 1;
	/* A CPU that came after the start has no ring. */
	if (ring) {
		used = bpf_ringbuf_query(ring, ESTATS_RB_AVAIL_DATA);
		if (used < ESTATS_RING_BYTES / 4 * 3)
			b = bpf_ringbuf_reserve(ring, sizeof(*b), 0);
	}
	if (!b) {
		estats_refused(s);
		return false;
	}
	estats_fill(b, tp, s, n, bpf_ktime_get_ns(), flags, 0,
		    estats_rfc_state(estats_sock(tp)->__sk_common.skc_state));
	bpf_ringbuf_submit(b, used > ESTATS_RING_BYTES / 2 ? ESTATS_RB_FORCE_WAKEUP :
							    ESTATS_RB_NO_WAKEUP);
	return true;
}

/* Room for a final batch that its ring has no room for; none is a loss. */
static __always_inline struct estats_batch *estats_overflow(struct estats_socket *s,
							    struct estats_counters *c)
{
	struct estats_batch *b;
	u64 id = s->id;
	u32 zero = 0;

	b = blank.lookup(&zero);
	if (!b)
		return 0;
	finals.update(&id, b);
	b = finals.lookup(&id);
	if (!b)
		__sync_fetch_and_add(&c->lost_finals, 1);
	return b;
}

/* The last batch, with the values as of the transition to CLOSE. */
static __always_inline void estats_send_final(struct tcp_sock *tp, struct estats_socket *s,
					      u8 old_state)
{
	u32 index = estats_ring_of(s->shard);
	struct estats_counters *c = estats_count(s->shard);
	struct estats_batch *reserved = 0, *b;
	void *ring = rings.lookup(&index);
	u32 rfc_state = 1;
	u64 used = 0;

	if (!c)
		return;

	/* A socket never shows TIME_WAIT: this is where its connection enters it. */
	if ((old_state == ESTATS_TCP_FIN_WAIT2 || old_state == ESTATS_TCP_CLOSING) &&
	    !estats_sock(tp)->sk_err)
		rfc_state = 11;
	estats_offered(tp, s);
	if (ring) {
		used = bpf_ringbuf_query(ring, ESTATS_RB_AVAIL_DATA);
		reserved = bpf_ringbuf_reserve(ring, sizeof(*reserved), 0);
	}
	/* Filled in one place, wherever it lies: a second one is as much again to compile. */
	b = reserved ? reserved : estats_overflow(s, c);
	if (!b)
		return;
	estats_fill(b, tp, s, &s->seen, bpf_ktime_get_ns(), ESTATS_FLAG_FINAL, old_state,
		    rfc_state);
	if (!reserved) {
		__sync_fetch_and_add(&c->overflowed, 1);
		return;
	}
	bpf_ringbuf_submit(reserved, used > ESTATS_RING_BYTES / 2 ? ESTATS_RB_FORCE_WAKEUP :
							    ESTATS_RB_NO_WAKEUP);
}
