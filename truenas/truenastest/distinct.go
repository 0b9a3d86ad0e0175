package truenastest

import (
	"hash/maphash"
	"io"
	"sync"
)

// distinct writes only those lines of transcripts that differ from all earlier ones of the process in more than numbers and
// names. Tests that repeat an operation for each fault make millions of calls, and a checker of models needs one of each kind.
type distinct struct{ w io.Writer }

var (
	seed = maphash.MakeSeed()
	seen sync.Map // hashes of shapes
)

// Write takes one line, and writes it if its shape is new.
func (d distinct) Write(line []byte) (int, error) {
	if _, known := seen.LoadOrStore(maphash.Bytes(seed, shape(line)), true); known {
		return len(line), nil
	}
	return d.w.Write(line)
}

const (
	// headStrings counts the release and the method with their keys, which the shape keeps.
	headStrings = 4
	// wordBytes is the minimum length of a string with a digit that counts as a name or an id. Shorter ones may be one of a few
	// allowed values, such as "LZ4" and "16K".
	wordBytes = 8
)

// shape returns the line with 0 for each number, and an empty string for each long string with a digit.
func shape(line []byte) []byte {
	out := make([]byte, 0, len(line))
	count := 0 // strings so far
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '"':
			end, digit := stringEnd(line, i+1)
			count++
			if text := line[i+1 : end]; count <= headStrings || !digit || len(text) < wordBytes {
				out = append(out, text...)
			}
			out, i = append(out, '"'), end
		case isDigit(c):
			if len(out) == 0 || out[len(out)-1] != '0' {
				out = append(out, '0')
			}
		default:
			out = append(out, c)
		}
	}
	return out
}

// stringEnd returns the end of the string that begins at i, and whether it contains a digit.
func stringEnd(line []byte, i int) (end int, digit bool) {
	for ; i < len(line) && line[i] != '"'; i++ {
		digit = digit || isDigit(line[i])
		if line[i] == '\\' {
			i++
		}
	}
	return min(i, len(line)), digit
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
