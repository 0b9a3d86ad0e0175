package statuspage

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func render(t *testing.T, p Page) string {
	t.Helper()
	answer := httptest.NewRecorder()
	Handler(func(context.Context) Page { return p }).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/", nil))
	if answer.Code != http.StatusOK {
		t.Fatalf("%d: %s", answer.Code, answer.Body)
	}
	return answer.Body.String()
}

// Names of VMs, images and hosts are untrusted. The page escapes them.
func TestHostileTextsAreText(t *testing.T) {
	const hostile = `"><script>alert(1)</script><img src=x onerror=alert(1)>` + "\u0000" + `'`
	page := render(t, Page{
		Title: hostile, Subtitle: hostile, State: Mark{hostile, Good}, Trouble: hostile, Footer: hostile,
		Tiles: []Tile{{hostile, hostile, Tone(hostile)}}, Facts: []Fact{{Name: hostile, Value: hostile, Note: hostile}},
		Sections: []Section{
			{Title: hostile, Note: hostile, Columns: []string{hostile}, Rows: []Row{{{Text: hostile, Note: hostile, Tone: Tone(hostile)}}}},
			{Title: "marks", Marks: []Mark{{hostile, Tone(hostile)}}}, {Title: "empty", Empty: hostile},
		},
	})
	for _, raw := range []string{"<script", "<img", `">'`, "onerror=alert(1)>"} {
		if strings.Contains(page, raw) {
			t.Errorf("the page holds %q", raw)
		}
	}
	if !strings.Contains(page, "&lt;script&gt;") {
		t.Error("the text is missing")
	}
}

func TestPageHasNoExternalResources(t *testing.T) {
	page := render(t, Page{Title: "t", Sections: []Section{{Title: "s", Columns: []string{"a"}, Rows: []Row{{{Text: "b", Progress: &Progress{-1}}}}}}})
	for _, tt := range []struct {
		what, text string
		want       bool
	}{
		{"refreshes itself", `<meta http-equiv="refresh" content="5">`, true},
		{"fits a phone", `<meta name="viewport" content="width=device-width`, true},
		{"knows the dark", "prefers-color-scheme: dark", true},
		{"labels the columns of a narrow page", `data-label="a"`, true},
		{"shows work of unknown length", "<progress></progress>", true},
		{"loads a script", "<script", false},
		{"loads anything", "http", false},
		{"imports a style", "@import", false},
		{"has a form", "<form", false},
	} {
		text := strings.ReplaceAll(page, "http-equiv", "equiv")
		if tt.want {
			text = page
		}
		if strings.Contains(text, tt.text) != tt.want {
			t.Errorf("%s: it is %v", tt.what, !tt.want)
		}
	}
}

func TestLongListsAreCut(t *testing.T) {
	var rows []Row
	for i := range 250 {
		rows = append(rows, Row{{Text: fmt.Sprintf("vm-%d", i)}})
	}
	shown, more := Rows(rows)
	page := render(t, Page{Sections: []Section{{Rows: shown, More: more}}})
	if strings.Count(page, "<tr>") != maxRows+1 || !strings.Contains(page, "and 150 more") {
		t.Errorf("the page has %d rows", strings.Count(page, "<tr>"))
	}
}

func TestWords(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{Lasting(300 * time.Millisecond), "a moment"}, {Lasting(59 * time.Second), "59 s"}, {Lasting(61 * time.Minute), "1 h 01 min"},
		{Lasting(50 * time.Hour), "2 days"}, {Ago(time.Time{}), "never"}, {Ago(time.Now().Add(-5 * time.Minute)), "5 min ago"},
		{Quick(1234 * time.Microsecond), "1.2 ms"}, {Quick(123 * time.Millisecond), "123 ms"},
		{Size(512), "512 B"}, {Size(2 << 30), "2 GiB"}, {Size(3 << 29), "1.5 GiB"}, {Size(0), "0 B"},
	} {
		if tt.got != tt.want {
			t.Errorf("got %q, want %q", tt.got, tt.want)
		}
	}
}
