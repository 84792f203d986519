package mapping_test

import (
	"strings"
	"testing"
	"time"

	"segment-saasquatch/mapping"
)

func mustMapper(t testing.TB, change func(*mapping.Rules)) *mapping.Mapper {
	t.Helper()
	rules := mapping.DefaultRules()
	change(&rules)
	mapper, err := mapping.New(rules)
	if err != nil {
		t.Fatal(err)
	}
	return mapper
}

// TestManyTraits checks that the upserts of a call have each trait once, in the order of the call.
func TestManyTraits(t *testing.T) {
	mapper := mustMapper(t, func(*mapping.Rules) {})
	for _, count := range []int{0, 1, 99, 100, 101, 199, 200, 201, 1000} {
		var traits, want []string
		for i := range count {
			name := "t" + strings.Repeat("x", i%7) + time.Duration(i).String()
			traits, want = append(traits, `"`+name+`":1`), append(want, name)
		}
		event := []byte(`{"type":"identify","userId":"u","traits":{` + strings.Join(traits, ",") + `}}`)
		result := mapper.Map(event, goldenNow)
		checkResult(t, event, &result)
		if wantCalls := max(1, (count+99)/100); len(result.Upserts) != wantCalls {
			t.Errorf("%d traits made %d upserts", count, len(result.Upserts))
		}
		var got []string
		for i := range result.Upserts {
			if at := strings.Index(string(result.Upserts[i].Body), `"customFields":`); at >= 0 {
				object := strings.TrimSuffix(string(result.Upserts[i].Body[at+len(`"customFields":`):]), "}")
				got = append(got, memberNames(t, []byte(object))...)
			}
		}
		if len(want) != 0 && strings.ReplaceAll(strings.Join(want, " "), "µ", "") != strings.Join(got, " ") {
			t.Errorf("%d traits: got %q\nwant %q", count, got, want)
		}
	}
}

func BenchmarkIdentify(b *testing.B) {
	event := []byte(
		`{"type":"identify","userId":"u-1",` +
			`"messageId":"ajs-next-1790812800123-2324d7d3-9791-4b0e-a6f2-1bd1b7308241",` +
			`"timestamp":"2026-10-31T12:00:00.000Z","context":{"locale":"en-US"},` +
			`"traits":{"email":"jo@shop.example","firstName":"Jo","lastName":"Doe","plan":"pro","logins":42,` +
			`"company name":"Acme","createdAt":"2026-01-01"}}`)
	for name, segments := range map[string]string{"plain": "", "segments": `[traits.plan, "hardcoded"]`} {
		b.Run(name, func(b *testing.B) {
			mapper := mustMapper(b, func(r *mapping.Rules) { r.Segments = segments })
			b.SetBytes(int64(len(event)))
			b.ReportAllocs()
			for b.Loop() {
				if mapper.Map(event, benchNow).Kind != mapping.KindUserUpsert {
					b.Fatal("not mapped")
				}
			}
		})
	}
}
