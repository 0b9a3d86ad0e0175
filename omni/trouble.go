package omni

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"google.golang.org/grpc/codes"
)

// troubles are what the health text tells beside the state of the providers: errors that Omni shows nowhere else. Each is
// set and cleared by whoever looks at the thing it is about, again and again, so that nothing is lost with them.
type troubles struct {
	mu   sync.Mutex
	list map[string]string
}

// set notes a trouble, or clears it when text is empty.
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

// replace notes all troubles of one kind at once.
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

// noteStep notes that a provider has no room: Omni shows it with the request, and who runs the provider looks at its health.
func (t *troubles) noteStep(request string, err error, text string) {
	if codeOf(err) == codes.ResourceExhausted {
		t.set("step "+request, request+": "+text)
	}
}

// settle clears what was noted of a request's steps.
func (t *troubles) settle(request string) { t.set("step "+request, "") }

// maxTold bounds the health text, in troubles; the log has them all.
const maxTold = 5

// tell lists the troubles, each text once.
func (t *troubles) tell() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var texts []string
	for _, about := range slices.Sorted(maps.Keys(t.list)) {
		if text := t.list[about]; !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	if more := len(texts) - maxTold; more > 0 {
		texts = append(texts[:maxTold], fmt.Sprintf("and %d more; the provider's log has them", more))
	}
	return texts
}
