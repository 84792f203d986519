package store

import (
	"bytes"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"segment-saasquatch/adapter"
)

// rejections has the rejected arrivals of runs by the digest of their payload.
type rejections map[string]*rejection

// rejection is one rejected payload.
type rejection struct {
	digest []byte
	// id is the id of the first arrival, unless a dead letter has the payload already.
	id   int64
	each []arrivalOf
}

func (r rejections) add(of arrivalOf, id int64) {
	digest := of.acceptance.digest(&of.acceptance.arrivals[of.index])
	known := r[string(digest)]
	if known == nil {
		known = &rejection{digest: digest, id: id}
		r[string(digest)] = known
	}
	known.each = append(known.each, of)
}

// reject counts the arrivals whose payload a dead letter of a run has already. It adds one arrival of each other
// payload to those to be logged.
func (t *postgresTransaction) reject(rejected rejections, toLog *incoming) error {
	if len(rejected) == 0 {
		return nil
	}
	// In one order, or two transactions could wait for each other.
	byDigest := func(a, b *rejection) int { return bytes.Compare(a.digest, b.digest) }
	var digests [][]byte
	var ids, repeats []int64
	for _, r := range slices.SortedFunc(maps.Values(rejected), byDigest) {
		digests, ids, repeats = append(digests, r.digest), append(ids, r.id), append(repeats, int64(len(r.each)-1))
	}
	rows, err := t.tx.Query(t.ctx, `INSERT INTO rejected (digest, delivery, repeats)
		SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bigint[])
		ON CONFLICT (digest) DO UPDATE SET repeats = rejected.repeats + excluded.repeats + 1
		RETURNING digest, delivery`, digests, ids, repeats)
	if err != nil {
		return err
	}
	var digest []byte
	var delivery int64
	var runs, again []int64
	_, err = pgx.ForEachRow(rows, []any{&digest, &delivery}, func() error {
		r := rejected[string(digest)]
		repeated := r.each
		if delivery == r.id {
			toLog.add(r.each[0], r.id)
			repeated = r.each[1:]
		}
		for _, of := range repeated {
			runs, again = append(runs, of.acceptance.run.ID), append(again, delivery)
			t.runs.add(of.acceptance.run.ID, adapter.Rejected, of.acceptance.arrivals[of.index].Reason, 1)
		}
		return nil
	})
	if err != nil || len(runs) == 0 {
		return err
	}
	_, err = t.tx.Exec(t.ctx, `INSERT INTO run_rejected (run, delivery)
		SELECT DISTINCT run, delivery FROM unnest($1::bigint[], $2::bigint[]) AS i (run, delivery)
		ORDER BY run, delivery
		ON CONFLICT DO NOTHING`, runs, again)
	return err
}
