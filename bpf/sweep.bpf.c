/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What no event would send: the sweep over all sockets with state, and the one
 * look at the sockets that were open before us.
 */

/* Whether the shard's worker was replaced: the new one knows nothing of this socket. Only the
 * sweep writes resync, and it runs once at a time.
 */
static __always_inline bool estats_is_unknown(struct estats_socket *s)
{
	u32 first = s->shard;
	struct estats_counters *c = counters.lookup(&first);

	return c && s->resync != (u8)c->resync;
}

static __always_inline void estats_made_known(struct estats_socket *s)
{
	u32 first = s->shard;
	struct estats_counters *c = counters.lookup(&first);

	if (c)
		s->resync = c->resync;
}

/* An event, or a gauge that moved without one. */
static __always_inline bool estats_has_news(struct tcp_sock *tp, struct estats_socket *s)
{
	return s->dirty || s->seen.write_seq != tp->write_seq ||
	       s->seen.copied_seq != tp->copied_seq || s->seen.snd_una != tp->snd_una;
}

/* Whether it is to make room for others: it neither sent nor received since. */
static __always_inline bool estats_is_idle(struct tcp_sock *tp, struct estats_socket *s)
{
	u32 zero = 0;
	struct estats_bound *b = bound.lookup(&zero);

	return b && s->counted && tp->tcp_mstamp < b->idle_us;
}

/* Takes a connection out of the hooks' hands, unless one of them may be at work on it. The
 * atomic addition stands between what both sides write and what they read: who has the lock
 * only after we have looked at it finds the connection evicted.
 */
static __always_inline bool estats_seize(struct sock *sk, struct estats_socket *s)
{
	if (estats_is_busy(sk))
		return false;
	s->life = ESTATS_LIFE_GONE;
	estats_tracked(-1);
	if (!estats_is_busy(sk))
		return true;
	s->life = ESTATS_LIFE_LIVE;
	estats_tracked(1);
	return false;
}

/* Its last batch has left, so its memory may go, too; or found no room, so it stays. */
static __always_inline void estats_evict(struct sock *sk, struct estats_socket *s, bool is_told)
{
	struct estats_counters *c = estats_count(s->shard);

	if (!c || !is_told) {
		s->life = ESTATS_LIFE_LIVE;
		estats_tracked(1);
		return;
	}
	__sync_fetch_and_add(&c->ended, 1);
	__sync_fetch_and_add(&c->evicted, 1);
	sockets.sk_storage_delete(sk);
}

/* Every namespace, without the sockets' locks: the hooks' state is copied, so
 * that a sample seen here is seen again, and counted once, by the next hook.
 * Writes one octet for each socket that has to wait for room in its ring.
 */
#ifdef ESTATS_MAKE_on_sweep
int on_sweep(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct sock *sk = ctx->sk;
	struct estats_socket *s = ctx->value;
	struct estats_seen seen;
	u32 flags = ESTATS_FLAG_SWEPT;
	struct tcp_sock *tp;
	u8 waiting = 1;
	bool is_idle, is_told;

#ifdef ESTATS_HOOK_on_listeners
	estats_count_accepted(ctx->meta, sk, s);
#endif
	if (!sk || !estats_is_live(s))
		return 0;
	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return 0;
	/* Counted by the next hook, which holds the lock: together they could count it twice. */
	if (s->life == ESTATS_LIFE_PENDING && (estats_is_left_out(s) || estats_is_full()))
		return 0;
	estats_decide(tp, s);
	if (s->life != ESTATS_LIFE_LIVE)
		return 0;
	is_idle = estats_is_idle(tp, s);
	if (!is_idle && !estats_has_news(tp, s) && !estats_is_unknown(s))
		return 0;
	if (estats_is_ring_busy(s)) {
		bpf_seq_write(ctx->meta->seq, &waiting, sizeof(waiting));
		return 0;
	}
	__builtin_memcpy(&seen, &s->seen, sizeof(seen));
	if (s->handshaken)
		estats_observe(&seen, tp);
	is_idle = is_idle && estats_seize(sk, s);
	if (is_idle)
		flags |= ESTATS_FLAG_FINAL | ESTATS_FLAG_EVICTED;
	is_told = estats_send(tp, s, &seen, flags);
	estats_made_known(s);	/* a batch that found no room left it dirty */
	if (is_idle)
		estats_evict(sk, s, is_told);
	return 0;
}
#endif

struct estats_living {
	u64 id;
	u64 active_us;		/* tcp_mstamp */
};

/* All live connections, and when they were last active: what is missing here has closed unseen. */
#ifdef ESTATS_MAKE_on_census
int on_census(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct estats_socket *s = ctx->value;
	struct estats_living living;
	struct tcp_sock *tp;

	if (!ctx->sk || !s || s->life != ESTATS_LIFE_LIVE)
		return 0;
	tp = bpf_skc_to_tcp_sock(ctx->sk);
	if (!tp)
		return 0;
	living.id = s->id;
	living.active_us = tp->tcp_mstamp;
	bpf_seq_write(ctx->meta->seq, &living, sizeof(living));
	return 0;
}
#endif

/* One network namespace. The first sweep sends what is made here. */
#ifdef ESTATS_MAKE_on_backfill
int on_backfill(struct bpf_iter__tcp *ctx)
{
	struct sock_common *skc = ctx->sk_common;
	struct tcp_sock *tp;
	u8 state;

	if (!skc)
		return 0;
	tp = bpf_skc_to_tcp_sock(skc);
	if (!tp)
		return 0;
	state = skc->skc_state;
#ifdef ESTATS_HOOK_on_listeners
	if (state == ESTATS_TCP_LISTEN)
		estats_listen((struct sock *)tp, ESTATS_FLAG_BACKFILL);
#endif
	if (state == ESTATS_TCP_LISTEN || state == ESTATS_TCP_CLOSE ||
	    state == ESTATS_TCP_SYN_RECV)
		return 0;
	if (!sockets.sk_storage_get((struct sock *)tp, 0, 0))
		estats_open((struct sock *)tp, tp, ESTATS_FLAG_BACKFILL, false);
	return 0;
}
#endif
