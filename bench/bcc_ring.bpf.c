/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Batches as ours are, through a ring buffer of BCC's: an iterator over the
 * array in which they lie ready sends each of them once.
 */

struct a_batch {
	u8 octets[BATCH_OCTETS];
};

/* The context's layout is the kernel's; what we do not look into has no type here. */
struct bpf_iter__bpf_map_elem {
	u64 meta;
	u64 map;
	u64 *key;
	struct a_batch *value;
};

BPF_ARRAY(batches, struct a_batch, BATCHES);
BPF_RINGBUF_OUTPUT(records, 1024);	/* pages */

int send_batch(struct bpf_iter__bpf_map_elem *ctx)
{
	struct a_batch *batch = ctx->value;

	if (batch)
		records.ringbuf_output(batch, sizeof(*batch), 0);
	return 0;
}
