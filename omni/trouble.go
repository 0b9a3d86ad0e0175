package omni

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"google.golang.org/grpc/codes"
)

// troubles are the errors that Omni shows only in the health text, beside the state of the backends. The code that checks a
// subject periodically sets and clears its error, so a restart loses nothing.
type troubles struct {
	mu   sync.Mutex
	list map[string]string
}

// set records a trouble, or clears it when text is empty.
func (t *troubles) set(about, text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.list == nil {
		t.list = map[string]string{}
	}
	if text == "" {
		delete(t.list, about)
		return
	}
	t.list[about] = text
}

// replace records all troubles of one kind at once.
func (t *troubles) replace(kind string, all map[string]string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.list == nil {
		t.list = map[string]string{}
	}
	maps.DeleteFunc(t.list, func(about, _ string) bool { return strings.HasPrefix(about, kind) })
	for about, text := range all {
		t.list[kind+about] = text
	}
}

// noteStep records that a backend lacks resources. Omni shows the error with the request, but the operator of the backend reads
// the health text.
func (t *troubles) noteStep(request string, err error, text string) {
	if codeOf(err) == codes.ResourceExhausted {
		t.set("step "+request, request+": "+text)
	}
}

// settle clears the troubles of a request's steps.
func (t *troubles) settle(request string) { t.set("step "+request, "") }

// maxTexts is the maximum number of troubles in the health text. The log has all of them.
const maxTexts = 5

// texts returns the troubles without repetitions.
func (t *troubles) texts() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var texts []string
	for _, about := range slices.Sorted(maps.Keys(t.list)) {
		if text := t.list[about]; !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	if more := len(texts) - maxTexts; more > 0 {
		texts = append(texts[:maxTexts], fmt.Sprintf("and %d more; the provider's log has them", more))
	}
	return texts
}
