package truenas

import (
	"slices"
	"time"
)

// The NAS may carry out a call a moment after the link has broken or the process has died. If the
// call is retried meanwhile, the late one can destroy the result of the retry: a late deletion
// removes a dataset that was just created again under the same name. So changes are held back for a
// while after a link broke during a change, and after a client was created. Reads are not, and
// neither are uploads, which do not use the link.

// holdBack starts the hold if a change was in flight on the broken link.
func (st *state) holdBack(d time.Duration) {
	for _, r := range st.pending {
		if r.sent && r.kind != read {
			st.held = time.Now().Add(d)
			return
		}
	}
}

// due takes the next call to write from the queue, or returns nil.
func (s *session) due(st *state) *request {
	left := time.Until(st.held)
	i := slices.IndexFunc(st.queue, func(r *request) bool { return left <= 0 || r.kind == read })
	if i < 0 {
		s.releaseAfter(st, left)
		return nil
	}
	r := st.queue[i]
	if i == 0 { // the usual case, apart from a hold: the queue may be long
		st.queue = st.queue[1:]
	} else {
		st.queue = slices.Delete(st.queue, i, i+1)
	}
	return r
}

// releaseAfter settles the session when the hold ends.
func (s *session) releaseAfter(st *state, left time.Duration) {
	if len(st.queue) == 0 || st.closed || st.released != nil {
		return
	}
	st.released = time.AfterFunc(left, func() {
		s.update(func(st *state) { st.released = nil })
	})
}
