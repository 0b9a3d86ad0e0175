// Package statuspage shows the work of a program on one page that the server renders and that refreshes itself.
//
//	mux.Handle("GET /{$}", statuspage.Handler(func(ctx context.Context) statuspage.Page { … }))
//
// A page is plain HTML without scripts and external resources, and is readable on a phone, with a light and a dark theme. It is
// read-only. Every user who can name a VM determines some of its text: html/template escapes all text, and the page's
// Content-Security-Policy forbids scripts.
package statuspage

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"time"
)

// Page is the content of the page.
type Page struct {
	Title    string // "TrueNAS provider"
	Subtitle string
	State    Mark
	Trouble  string // the current fault in a sentence; empty: none
	Tiles    []Tile
	Facts    []Fact
	Sections []Section
	Footer   string
}

// Tone is the color of an item. The text has the same information, for readers who do not see colors.
type Tone string

// Tones.
const (
	Good Tone = "good"
	Busy Tone = "busy"
	Warn Tone = "warn"
	Bad  Tone = "bad"
	Idle Tone = "idle"
)

// Mark is a word with a color.
type Mark struct {
	Text string
	Tone Tone
}

// Tile is a large number.
type Tile struct {
	Number string
	Name   string
	Tone   Tone // empty: neutral
}

// Fact is a line with a name.
type Fact struct {
	Name  string
	Value string
	Note  string
	Code  bool // show the value in a fixed-width font
	Wide  bool // use a separate line
}

// Section is a table, or a row of marks.
type Section struct {
	Title   string
	Note    string
	Columns []string
	Rows    []Row
	More    int    // rows that are omitted
	Empty   string // replaces the rows if there are none
	Marks   []Mark
}

// Row has a cell for each column.
type Row []Cell

// Cell is one property of an item.
type Cell struct {
	Text     string
	Note     string // smaller, below
	Tone     Tone   // shows the text as a mark of that color; empty: plain text
	Code     bool
	Number   bool      // align to the right
	Progress *Progress // bar before the text
}

// Progress is the finished part of some work. A negative value means unknown.
type Progress struct{ Percent int }

const (
	refresh = 5 // seconds
	maxRows = 100
)

//go:embed page.html
var source string

//go:embed style.css
var style string

// Rows shortens a list that is too long for a page.
func Rows(rows []Row) (shown []Row, more int) {
	if len(rows) <= maxRows {
		return rows, 0
	}
	return rows[:maxRows], len(rows) - maxRows
}

// Handler serves the page with the state at the time of each request.
func Handler(now func(context.Context) Page) http.Handler {
	page := template.Must(template.New("page").Funcs(template.FuncMap{"label": label}).Parse(source))
	sum := sha256.Sum256([]byte(style))
	policy := fmt.Sprintf("default-src 'none'; style-src 'sha256-%s'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'", base64.StdEncoding.EncodeToString(sum[:]))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body bytes.Buffer
		err := page.Execute(&body, struct {
			Page
			Style   template.CSS
			Refresh int
			Now     string
		}{now(r.Context()), template.CSS(style), refresh, time.Now().UTC().Format("2006-01-02 15:04:05 UTC")}) //nolint:gosec // The style is the program's own.
		if err != nil {
			http.Error(w, "rendering of the page failed: "+err.Error(), http.StatusInternalServerError)
			return
		}
		header := w.Header()
		header.Set("Content-Type", "text/html; charset=utf-8")
		header.Set("Content-Security-Policy", policy)
		header.Set("Cache-Control", "no-store")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("X-Frame-Options", "DENY")
		_, _ = body.WriteTo(w) // It fails only if the client is gone.
	})
}

// label is the name of a cell's column, for narrow pages.
func label(columns []string, i int) string {
	if i < len(columns) {
		return columns[i]
	}
	return ""
}
