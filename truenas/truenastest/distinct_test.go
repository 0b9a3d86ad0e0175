package truenastest

import (
	"bytes"
	"testing"
)

func TestDistinctKeepsOneLineOfEachShape(t *testing.T) {
	const head = `{"release":"25.10","method":"pool.dataset.query","params":["some long head"],"result":`
	line := func(rest string) string { return head + rest + "}\n" }
	for _, tt := range []struct {
		name, one, other string
		same             bool
	}{
		{"another number", `{"size":1073741824}`, `{"size":2147483648}`, true},
		{"another id", `{"id":"9f0c1a52-0b5c"}`, `{"id":"d2ae7701-77aa"}`, true},
		{"a quotation mark in a name", `{"id":"upload-\"7x","b":1}`, `{"id":"upload-8\"yy","b":2}`, true},
		{"another type", `{"size":1}`, `{"size":"1"}`, false},
		{"null", `{"size":1}`, `{"size":null}`, false},
		{"a fraction", `{"size":1}`, `{"size":1.5}`, false},
		{"another key", `{"size":1}`, `{"used":1}`, false},
		{"another word", `{"state":"RUNNING"}`, `{"state":"STOPPED"}`, false},
		{"another short word", `{"compression":"LZ4"}`, `{"compression":"ZSTD-3"}`, false},
		{"one more element", `[1]`, `[1,2]`, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			seen.Clear()
			var got bytes.Buffer
			d := distinct{&got}
			for _, text := range []string{line(tt.one), line(tt.one), line(tt.other)} {
				if n, err := d.Write([]byte(text)); n != len(text) || err != nil {
					t.Fatal(n, err)
				}
			}
			want := line(tt.one)
			if !tt.same {
				want += line(tt.other)
			}
			if got.String() != want {
				t.Errorf("got %s", got.String())
			}
		})
	}
}

// A truncated line is compared, and never read beyond its end.
func TestShapeOfHalfALine(t *testing.T) {
	text := []byte(`{"release":"25.10","method":"pool.dataset.query","params":["some long head"],"result":{"a":"b\"c1"}}` + "\n")
	for n := range len(text) + 1 {
		_ = shape(text[:n])
	}
}
