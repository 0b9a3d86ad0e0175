package words

import "strings"

// allowed are texts that other programs write or that name something of theirs. They do not count, in the files below path.
var allowed = []struct{ path, text, reason string }{
	{"cmd/internal/words/", "", "the lint itself"},
}

// pending are directories that have old wording. Remove an entry when its directory is clean; the list must end up empty.
var pending = []string{"server"}

// clean are directories below those of pending that have none.
var clean = []string{"server/disk"}

// isPending reports whether the nearest directory that either list names is pending.
func isPending(path string) bool {
	return nearest(pending, path) > nearest(clean, path)
}

// nearest is the length of the longest of dirs that holds path, or 0.
func nearest(dirs []string, path string) int {
	longest := 0
	for _, dir := range dirs {
		inRoot := dir == "." && !strings.Contains(path, "/")
		if inRoot || strings.HasPrefix(path, dir+"/") {
			longest = max(longest, len(dir))
		}
	}
	return longest
}

// isAllowed reports whether the words at offset are part of an allowed text.
func isAllowed(path, text string, h hit) bool {
	for _, a := range allowed {
		if !strings.HasPrefix(path, a.path) {
			continue
		}
		from := max(0, h.offset-len(a.text))
		to := min(len(text), h.offset+len(h.words)+len(a.text))
		if strings.Contains(text[from:to], a.text) {
			return true
		}
	}
	return false
}
