/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Segments in and out.
 */

/* Before a segment is processed, in ESTABLISHED, under the lock: the state that
 * the event before left behind, at its peak for what an ACK takes away.
 */
#ifdef ESTATS_MAKE_on_tcp_probe
int on_tcp_probe(u64 *ctx)
{
	struct sock *sk = (struct sock *)ctx[0];
	struct sk_buff *skb = (struct sk_buff *)ctx[1];
	struct tcp_skb_cb *cb = (struct tcp_skb_cb *)skb->cb;
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	struct estats_socket *s;

	if (!tp)
		return 0;
	s = estats_meet(sk, tp);
	if (!estats_is_live(s))
		return 0;
	estats_acknowledged(s, tp);
	if (ESTATS_WANTS(ESTATS_TABLE_STACK))
		s->seen.reasm_max = estats_max(s->seen.reasm_max, estats_reasm(tp));
	/* In order, the segment in hand is queued before anyone can look again. */
	if (ESTATS_WANTS(ESTATS_TABLE_APP) && cb->seq == tp->rcv_nxt)
		s->seen.rqueue_max = estats_max(s->seen.rqueue_max,
						estats_rqueue(tp, cb->end_seq - (cb->tcp_flags & 1)));
	/* tcp_mstamp is the clock of the last event here: no clock is read for this. */
	if (s->life == ESTATS_LIFE_LIVE && tp->tcp_mstamp - s->flushed_us >= estats_flush_us())
		estats_send(tp, s, &s->seen, 0);
	s->dirty = 1;	/* what this segment is about to change was not in the batch */
	return 0;
}
#endif

#define ESTATS_OPTIONS_MAX	40	/* a header's octets, each of which may be padding */

enum { ESTATS_OPTION_END, ESTATS_OPTION_NOP, ESTATS_OPTION_MSS, ESTATS_OPTION_SCALE,
       ESTATS_OPTION_SACK_OK, ESTATS_OPTION_SACK, ESTATS_OPTION_STAMPS = 8 };

struct estats_ip {
	u8 ttl;
	u8 tos;
	u32 header;	/* octets before the TCP header */
	u32 octets;	/* of payload */
};

/* The packet says its version; a v4-mapped socket's family does not. IPv6
 * extension headers are not walked: such a packet is not parsed further.
 */
static __always_inline bool estats_parse_ip(struct __sk_buff *skb, struct estats_ip *ip)
{
	u8 *data = (u8 *)(long)skb->data, *end = (u8 *)(long)skb->data_end;

	if (data + 40 > end)	/* the shortest IP and TCP headers together */
		return false;
	if (data[0] >> 4 == 4) {
		ip->ttl = data[8];
		ip->tos = data[1];
		ip->header = (data[0] & 15) * 4;
		return data[9] == ESTATS_IPPROTO_TCP;
	}
	ip->ttl = data[7];
	ip->tos = (data[0] & 15) << 4 | data[1] >> 4;
	ip->header = 40;
	return data[6] == ESTATS_IPPROTO_TCP;
}

/* The TCP header, and what lies before and behind it. */
static __always_inline struct tcphdr *estats_parse(struct __sk_buff *skb, struct estats_ip *ip)
{
	u8 *data = (u8 *)(long)skb->data, *end = (u8 *)(long)skb->data_end;
	struct tcphdr *th;
	u32 headers;

	if (!estats_parse_ip(skb, ip) || ip->header > 60)
		return 0;
	th = (struct tcphdr *)(data + ip->header);
	if ((u8 *)(th + 1) > end)
		return 0;
	headers = ip->header + th->doff * 4;
	ip->octets = skb->len > headers ? skb->len - headers : 0;
	return th;
}

static __always_inline u32 estats_segments(struct __sk_buff *skb)
{
	return skb->gso_segs ? skb->gso_segs : 1;
}

/* The options of one header, and how far they have been walked. */
struct estats_walk {
	u8 octets[64];
	u32 size;
	u32 at;
	u8 kind;
	u8 length;	/* of the whole option, which lies within the header */
};

static __always_inline bool estats_load_options(struct __sk_buff *skb, struct tcphdr *th,
						u32 header, struct estats_walk *w)
{
	u64 size = (th->doff * 4 - sizeof(*th)) & 63;

	/* Each bound a comparison of its own: verifiers before 6.8 learn nothing from "not 0". */
	estats_pin(size);
	if (size < 2)
		return false;
	estats_pin(size);
	if (size > 40 || bpf_skb_load_bytes(skb, header + sizeof(*th), w->octets, size))
		return false;
	w->size = size;
	return true;
}

/* One step; the answer is whether there may be another. A malformed option ends
 * the walk, as it does in the kernel.
 */
static __always_inline bool estats_next_option(struct estats_walk *w)
{
	u32 at = w->at;

	/* The same range in each round, or the verifier follows every path apart. */
	estats_pin(at);
	at &= 63;
	w->kind = ESTATS_OPTION_NOP;
	if (at + 1 >= w->size || w->octets[at] == ESTATS_OPTION_END)
		return false;
	if (w->octets[at] == ESTATS_OPTION_NOP) {
		w->at = at + 1;
		return true;
	}
	w->length = w->octets[(at + 1) & 63];
	if (w->length < 2 || at + w->length > w->size)
		return false;
	w->kind = w->octets[at];
	w->at = at + w->length;
	return true;
}

/* SACK blocks among the options of one header; -1 without the option. */
static __always_inline int estats_sack_blocks(struct __sk_buff *skb, struct tcphdr *th, u32 header)
{
	struct estats_walk walk = {};
	u32 i;

	if (!estats_load_options(skb, th, header, &walk))
		return -1;
	for (i = 0; i < ESTATS_OPTIONS_MAX && estats_next_option(&walk); i++)
		if (walk.kind == ESTATS_OPTION_SACK)
			return walk.length == 2 || (walk.length - 2) & 7 ? -1 : walk.length / 8;
	return -1;
}

static __always_inline void estats_note_syn(struct estats_syn *syn, struct __sk_buff *skb,
					    struct tcphdr *th, u32 header)
{
	struct estats_walk walk = {};
	struct estats_syn offer = {};
	u32 i;

	offer.options = ESTATS_SYN_SEEN;
	if (th->ece && th->cwr != th->ack)	/* the answer has ECE alone */
		offer.options |= ESTATS_SYN_ECN;
	if (!estats_load_options(skb, th, header, &walk))
		walk.size = 0;
	for (i = 0; i < ESTATS_OPTIONS_MAX && estats_next_option(&walk); i++) {
		u32 value = walk.at - walk.length + 2;	/* where it begins */

		if (walk.kind == ESTATS_OPTION_MSS && walk.length == 4) {
			offer.mss = walk.octets[value & 63] << 8 | walk.octets[(value + 1) & 63];
		} else if (walk.kind == ESTATS_OPTION_SCALE && walk.length == 3) {
			offer.scale = walk.octets[value & 63];
			offer.options |= ESTATS_SYN_SCALE;
		} else if (walk.kind == ESTATS_OPTION_SACK_OK && walk.length == 2) {
			offer.options |= ESTATS_SYN_SACK;
		} else if (walk.kind == ESTATS_OPTION_STAMPS && walk.length == 10) {
			offer.options |= ESTATS_SYN_STAMPS;
		}
	}
	*syn = offer;
}

/* Whether a SYN that comes to who opens is one that the kernel will take. It may come
 * before snd_nxt moves, but not before write_seq has.
 */
static __always_inline bool estats_is_answer(struct tcp_sock *tp, struct tcphdr *th)
{
	u32 ack = bpf_ntohl(th->ack_seq);

	if (estats_sock(tp)->__sk_common.skc_state != ESTATS_TCP_SYN_SENT || th->rst)
		return false;
	return !th->ack || ((s32)(ack - tp->snd_una) > 0 && (s32)(tp->write_seq - ack) >= 0);
}

/*
 * Acknowledgements as they come off the wire, before the backlog merges them:
 * RFC 5681's duplicate has no data, acknowledges nothing new while something is
 * outstanding, and offers the same window.
 */
static __always_inline void estats_note_ack(struct estats_socket *s, struct tcp_sock *tp, u32 ack,
					    u16 window, bool bare, u32 segments)
{
	struct estats_shadow *h = &s->shadow;
	s32 advance = ack - h->ack_in;

	/* Old or of what was never sent. Loopback acknowledges before snd_nxt moves. */
	if (advance < 0 || (s32)(tp->write_seq - ack) < 0)
		return;
	if (!ESTATS_WANTS(ESTATS_TABLE_PATH | ESTATS_TABLE_STACK)) {
		h->ack_in = ack;
	} else if (advance > 0) {
		/* A run that ends without a recovery was reordering. */
		if (h->dup_run && tp->inet_conn.icsk_ca_state < ESTATS_CA_CWR) {
			s->events.non_recov_episodes++;
			s->events.non_recov_da += h->dup_run;
			s->events.octets_reordered += advance;
		}
		h->dup_run = 0;
		h->hint = 0;
		h->ack_in = ack;
	} else if (!advance && bare && window == h->window_in && (s32)(tp->snd_nxt - ack) > 0) {
		s->events.dup_acks_in += segments;
		h->dup_run += segments;
		h->hint = 1;
	}
	if (!window && h->window_in)
		s->events.zero_rwin_rcvd++;
	h->window_in = window;
}

static __always_inline void estats_note_received(struct estats_socket *s, struct tcp_sock *tp,
						 struct __sk_buff *skb, struct tcphdr *th,
						 u32 header, u32 octets)
{
	u32 segments = estats_segments(skb);
	u16 window = bpf_ntohs(th->window);
	int blocks;

	if (th->ece && tp->ecn_flags & 1)
		s->events.ecn_signals += segments;
	if (th->ack)
		estats_note_ack(s, tp, bpf_ntohl(th->ack_seq), window,
				!octets && !th->fin && (s32)(bpf_ntohl(th->seq) - tp->rcv_wup) >= 0,
				segments);
	if (th->ece && tp->ecn_flags & 1)
		s->shadow.hint = 1;
	if (!ESTATS_WANTS(ESTATS_TABLE_STACK) || th->doff <= 5)
		return;
	blocks = estats_sack_blocks(skb, th, header);
	if (blocks >= 0) {
		s->events.sacks_rcvd++;
		s->events.sack_blocks_rcvd += blocks;
	}
}

/* No connection that is wanted: a listener is told by one compare. */
static __always_inline int estats_not_ours(struct __sk_buff *skb, struct bpf_sock *owner)
{
#ifdef ESTATS_HOOK_on_listeners
	struct estats_ip ip = {};
	struct tcphdr *th;

	if (owner->state != ESTATS_TCP_LISTEN)
		return 1;
	th = estats_parse(skb, &ip);
	if (th)
		estats_listener_segment(owner, th);
#endif
	return 1;
}

/* Before the socket's lock and before any validation: facts of the packet only. */
#ifdef ESTATS_MAKE_on_ingress
int on_ingress(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	struct estats_socket *s;
	struct estats_ip ip = {};
	struct tcp_sock *tp;
	struct tcphdr *th;

	if (!sk)
		return 1;
	s = sockets.sk_storage_get(sk, 0, 0);
	if (!estats_is_live(s))
		return estats_not_ours(skb, sk);
	tp = bpf_skc_to_tcp_sock(sk);
	th = estats_parse(skb, &ip);
	if (!tp || !th)
		return 1;
	estats_note_past(s, tp);
	if (ESTATS_WANTS(ESTATS_TABLE_PATH)) {
		s->seen.ip_ttl = ip.ttl;
		s->seen.ip_tos_in = ip.tos;
		s->seen.ip_in_seen = 1;
		if ((ip.tos & ESTATS_TOS_CE) == ESTATS_TOS_CE)
			s->events.ce_rcvd += estats_segments(skb);
	}
	if (ip.octets)
		__sync_fetch_and_add(&s->seen.data_octets_in, ip.octets);
	if (!th->syn && !th->rst)
		estats_note_received(s, tp, skb, th, ip.header, ip.octets);
	else if (th->syn && estats_is_answer(tp, th))
		estats_note_syn(&s->syn_in, skb, th, ip.header);
	s->shadow.from_egress = 0;
	s->dirty = 1;
	return 1;
}
#endif

/* A report of what came out of order or twice. Without SACK only the queue tells. */
static __always_inline bool estats_reports(struct tcp_sock *tp, struct __sk_buff *skb,
					   struct tcphdr *th, u32 header)
{
	if (tp->out_of_order_queue.rb_node)
		return true;
	/* A D-SACK: the kernel has forgotten it once the option is written. */
	return th->doff * 4 > tp->tcp_header_len && estats_sack_blocks(skb, th, header) > 0;
}

static __always_inline void estats_note_sent(struct estats_socket *s, struct tcp_sock *tp,
					     struct __sk_buff *skb, struct tcphdr *th,
					     u32 header, u32 octets)
{
	struct estats_shadow *h = &s->shadow;
	u32 ack = bpf_ntohl(th->ack_seq);
	u16 window = bpf_ntohs(th->window);
	bool same = h->acked_out && ack == h->ack_out;

	if (!window && h->acked_out && h->window_out)
		s->events.zero_rwin_sent++;
	if (ESTATS_WANTS(ESTATS_TABLE_PATH) && !octets && !th->fin && same &&
	    window == h->window_out && estats_reports(tp, skb, th, header)) {
		s->events.dup_acks_out++;
		if (!h->in_run)
			s->events.dup_ack_episodes++;
		h->in_run = 1;
	} else if (!same) {
		h->in_run = 0;
	}
	if (th->ece && !h->ece_out)
		s->events.ece_sent++;
	h->ece_out = th->ece;
	h->ack_out = ack;
	h->window_out = window;
	h->acked_out = 1;
}

/* While a connection closes no tcp_probe will look before the next acknowledgement
 * is processed, so the marks are those with this segment.
 */
static __always_inline void estats_look_ahead(struct estats_socket *s, struct tcp_sock *tp,
					      u32 seq, u32 octets)
{
	estats_look(s, tp);
	if (seq != tp->snd_nxt)
		return;
	s->seen.pipe_max = estats_max(s->seen.pipe_max, estats_pipe(tp) + octets);
	s->seen.retx_max = estats_max(s->seen.retx_max, seq + octets - tp->snd_una);
}

/* What goes out and the queue behind it, under the lock. */
#ifdef ESTATS_MAKE_on_egress
int on_egress(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	struct estats_socket *s;
	struct estats_ip ip = {};
	struct tcp_sock *tp;
	struct tcphdr *th;
	u32 window;

	if (!sk)
		return 1;
	s = sockets.sk_storage_get(sk, 0, 0);
	if (!estats_is_live(s))
		return estats_not_ours(skb, sk);
	tp = bpf_skc_to_tcp_sock(sk);
	th = estats_parse(skb, &ip);
	if (!tp || !th)
		return 1;
	/* The SYN: connect() has picked its port by now, and who is left out waits for no answer. */
	estats_decide_and_count(tp, s);
	if (!estats_is_live(s))
		return 1;
	estats_note_past(s, tp);
	if (ESTATS_WANTS(ESTATS_TABLE_PATH)) {
		s->seen.ip_tos_out = ip.tos;
		s->seen.have |= ESTATS_HAVE_TOS_OUT;
	}
	if (ESTATS_WANTS(ESTATS_TABLE_APP))
		s->seen.wqueue_max = estats_max(s->seen.wqueue_max, tp->write_seq - tp->snd_nxt);
	if (ESTATS_WANTS(ESTATS_TABLE_STACK)) {
		s->seen.reasm = estats_reasm(tp);
		s->seen.reasm_max = estats_max(s->seen.reasm_max, s->seen.reasm);
	}
	if (!th->rst) {
		window = bpf_ntohs(th->window);
		s->seen.rwin_sent = th->syn ? window : window << tp->rx_opt.rcv_wscale;
		s->seen.rwin_sent_max = estats_max(s->seen.rwin_sent_max, s->seen.rwin_sent);
		s->seen.have |= ESTATS_HAVE_RWIN_SENT;
	}
	estats_catch_up(s, tp, false);
	if (s->handshaken && estats_is_closing(estats_sock(tp)))
		estats_look_ahead(s, tp, bpf_ntohl(th->seq), ip.octets);
	estats_note_undo(s, tp);	/* before a timeout or a recovery starts the next episode */
	if (!th->rst && !th->syn) {
		estats_note_sent(s, tp, skb, th, ip.header, ip.octets);
		if (ip.octets)
			estats_limits_sent(s, tp, bpf_ntohl(th->seq), ip.octets,
					   estats_segments(skb));
	} else if (th->syn) {
		estats_note_syn(&s->syn_out, skb, th, ip.header);
	}
	s->shadow.from_egress = 1;
	s->dirty = 1;
	return 1;
}
#endif
