package saasquatch

import (
	"bufio"
	"bytes"
	"strings"
	"testing"
)

// fuzzRows checks that rows reads any file to its end or to an error, which is the last element.
func fuzzRows(f *testing.F, form rowForm, check func(t *testing.T, row row)) {
	for _, seed := range []string{
		"recordNumber,message,apiErrorCode,statusCode\n2, \"m\", BAD_REQUEST, 400\n",
		"user.accountId,user.id,event.id,event.key,event.dateTriggered\na,u,e,k,1\n",
		`{"recordNumber":2,"error":{"message":"m"}}` + "\n", `{"user":{"id":"u"},"event":{"dateTriggered":1e400}}`,
		"\ufeff{}", zipped("recordNumber\n1\n"), "\x1f\x8b", "", "\n\n{", `"`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		text, err := plainText(bytes.NewReader(file))
		if err != nil {
			return
		}
		ended := false
		for row, err := range rows(bufio.NewReaderSize(text, 64<<10), form) {
			if ended {
				t.Fatal("a row after the error")
			}
			if ended = err != nil; !ended {
				check(t, row)
			}
		}
	})
}

func FuzzErrorRows(f *testing.F) {
	fuzzRows(f, errorRows, func(t *testing.T, row row) {
		record := recordError(row)
		if record.Record < -1 || record.StatusCode < 0 {
			t.Fatalf("got %+v", record)
		}
		for _, text := range []string{record.Message, record.APIErrorCode, record.RSCode} {
			if len(text) > maxDetail+len("…") || strings.ContainsAny(text, "\n\r\x1b\x00") {
				t.Fatalf("does not print: %q", text)
			}
		}
	})
}

func FuzzResultRows(f *testing.F) {
	fuzzRows(f, resultRows, func(t *testing.T, row row) {
		if event := importedEvent(row); !event.Timed && event.DateTriggered != 0 {
			t.Fatalf("got %+v", event)
		}
	})
}
