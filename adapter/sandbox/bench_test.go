package sandbox_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

const order = `{"checkout_id":"fksdjfsdjfisjf9sdfjsd9f","order_id":"50314b8e9bcf000000000000",` +
	`"affiliation":"Example Store","subtotal":22.5,"total":27.5,"revenue":22.5,"shipping":3,"tax":2,` +
	`"discount":2.5,` +
	`"coupon":"hasbros","currency":"USD","products":[{"product_id":"507f1f77bcf86cd799439011","sku":"45790-32",` +
	`"name":"Monopoly: 3rd Edition","price":19,"quantity":1,"category":"Games",` +
	`"url":"https://shop.example/product/path","image_url":"https://shop.example/product/path.jpg"},` +
	`{"product_id":"505bd76785ebb509fc183733","sku":"46493-32","name":"Uno Card Game","price":3,"quantity":2,` +
	`"category":"Games"}]}`

// BenchmarkTrackEvents times the handler alone, without net/http around it.
func BenchmarkTrackEvents(b *testing.B) {
	for _, key := range []string{"purchase", "ordered"} {
		b.Run(key, func(b *testing.B) {
			s := newServer(b, open())
			head := `{"userId":"u1","accountId":"a1","idempotencyKey":"`
			tail := `","events":[{"key":"` + key + `","fields":` + order + `,"dateTriggered":1538496397475}]}`
			r := newRequest("POST", events, "")
			w := &discard{header: http.Header{}}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				body := fmt.Sprintf("%sajs-next-1790812800123-%012d%s", head, i, tail)
				r.Body = http.NoBody
				r.ContentLength = int64(len(body))
				r.Body = reading{strings.NewReader(body)}
				clear(w.header)
				s.ServeHTTP(w, r)
				if w.status != http.StatusOK {
					b.Fatal(w.status)
				}
			}
		})
	}
}

type reading struct{ *strings.Reader }

func (reading) Close() error { return nil }

type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }

// BenchmarkServer times a request over a loopback connection, with the client.
func BenchmarkServer(b *testing.B) {
	server := httptest.NewServer(newServer(b, open()))
	defer server.Close()
	client := server.Client()
	client.Transport.(*http.Transport).MaxIdleConnsPerHost = 64
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r := newRequest("POST", server.URL+events, fieldsBody("purchase", order))
			r.RequestURI = ""
			response, err := client.Do(r)
			if err != nil {
				b.Error(err)
				return
			}
			response.Body.Close()
			if response.StatusCode != http.StatusOK {
				b.Errorf("status %d", response.StatusCode)
			}
		}
	})
}

// BenchmarkImport times an import of 1000 lines, with upload and results.
func BenchmarkImport(b *testing.B) {
	const lines = 1000
	purchase := `{"userId":"u1","accountId":"a1","event":{"key":"purchase","dateTriggered":1538496397475,"fields":` +
		order + "}}\n"
	for name, line := range map[string]string{"events": eventLine("u1", ""), "purchases": purchase} {
		b.Run(name, func(b *testing.B) {
			s := newServer(b, open())
			for b.Loop() {
				got := poll(b, s, create(b, s, eventsOf(put(b, s, strings.Repeat(line, lines)))))
				if got.Stats.RecordsProcessed != lines || got.Stats.Errors != 0 {
					b.Fatalf("job: %+v", got)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*lines), "ns/line")
		})
	}
}

// BenchmarkBulk times the handler for calls with 100 events of about 2 KB.
func BenchmarkBulk(b *testing.B) {
	const items = 100
	wide := strings.Replace(order, "{", `{"note":"`+strings.Repeat("x", 1000)+`",`, 1)
	long := strings.Replace(order, `"products":[`, `"products":[`+strings.Repeat(product+",", 4), 1)
	for _, test := range []struct{ key, fields string }{{"ordered", wide}, {"purchase", long}} {
		b.Run(test.key, func(b *testing.B) {
			s := newServer(b, open())
			r := newRequest("POST", graphQLPath, "")
			w := &discard{header: http.Header{}}
			const number = "00000000000000000000"
			var inputs []string
			for j := range items {
				inputs = append(inputs, fmt.Sprintf(`{"userId":"u%d","accountId":"a1",`+
					`"idempotencyKey":"ajs-next-%s","events":[{"key":%q,"fields":%s,"dateTriggered":1538496397475}]}`,
					j, number, test.key, test.fields))
			}
			body := []byte(`{"query":` + quote(logEvents) + `,"variables":{"in":[` + strings.Join(inputs, ",") + `]}}`)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			keys := 0
			for b.Loop() {
				for rest := body; ; keys++ {
					i := bytes.Index(rest, []byte("ajs-next-"))
					if i < 0 {
						break
					}
					rest = rest[i+len("ajs-next-"):]
					copy(rest, fmt.Sprintf("%020d", keys))
				}
				r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
				clear(w.header)
				s.ServeHTTP(w, r)
				if w.status != http.StatusOK {
					b.Fatal(w.status)
				}
			}
			if got := s.Stats().EventsAccepted; got != uint64(b.N)*items {
				b.Fatalf("%d events accepted", got)
			}
			b.ReportMetric(float64(b.N*items)/b.Elapsed().Seconds(), "items/s")
		})
	}
}

const product = `{"product_id":"507f1f77bcf86cd799439011","sku":"45790-32","name":"Monopoly: 3rd Edition",` +
	`"price":19,"quantity":1,"category":"Games","url":"https://shop.example/product/path",` +
	`"image_url":"https://shop.example/product/path.jpg"}`
