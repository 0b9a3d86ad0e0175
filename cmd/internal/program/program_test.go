package program

import (
	"errors"
	"fmt"
	"testing"
)

func TestExitCode(t *testing.T) {
	broken := errors.New("broken")
	for _, tt := range []struct {
		name string
		err  error
		want int
	}{
		{"an error", broken, 1},
		{"a mistake of the caller", Usage(broken), 2},
		{"a mistake of the caller among others", fmt.Errorf("flags: %w", errors.Join(broken, Usage(broken))), 2},
	} {
		if got := ExitCode(tt.err); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
	if err := Usage(broken); err.Error() != "broken" || !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}
