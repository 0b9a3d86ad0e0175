package truenas

import (
	"slices"
	"time"
)

// What a NAS received from a link that broke, or from a process that was killed,
// it may still carry out a moment later. If the same is asked for anew by then,
// and something is made in its place, the late one strikes that: a dataset is
// deleted that has just been made again under its name. So after a link broke
// under a change, and when a client is new, changes are held back for a while.
// Reads are not, and neither are uploads, which do not go over the link.

// holdBack begins that while when a change was under way on the link that broke.
func (st *state) holdBack(d time.Duration) {
	for _, r := range st.pending {
		if r.sent && r.kind != read {
			st.held = time.Now().Add(d)
			return
		}
	}
}

// due takes the call out of the queue that may be written next, or answers nil.
func (s *session) due(st *state) *request {
	left := time.Until(st.held)
	i := slices.IndexFunc(st.queue, func(r *request) bool { return left <= 0 || r.kind == read })
	if i < 0 {
		s.releaseAfter(st, left)
		return nil
	}
	r := st.queue[i]
	if i == 0 { // as always but in that while: the queue may be long
		st.queue = st.queue[1:]
	} else {
		st.queue = slices.Delete(st.queue, i, i+1)
	}
	return r
}

// releaseAfter has what is held back written when its time has come.
func (s *session) releaseAfter(st *state, left time.Duration) {
	if len(st.queue) == 0 || st.closed || st.released != nil {
		return
	}
	st.released = time.AfterFunc(left, func() {
		s.update(func(st *state) { st.released = nil })
	})
}
