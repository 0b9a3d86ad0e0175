package truenas

import (
	"encoding/json"
	"slices"
)

// EventKind is the kind of an event.
type EventKind int

// Kinds of events.
const (
	EventAdded   EventKind = iota + 1
	EventChanged           // Fields may hold only part of the record
	EventRemoved
	EventReset // subscribed (again): events may have been missed, so read the records again
	EventLost  // no events until the next EventReset
)

// An Event is a change of one record of a collection such as vm.query.
type Event struct {
	Kind   EventKind
	ID     int64           // the record's id, or 0 when it is not a number
	Fields json.RawMessage // up to 25.10 those of vm.query lack devices
	Seq    uint64          // counts the events of all collections in order of arrival; see [Client.Heard]
}

var eventKinds = map[string]EventKind{"added": EventAdded, "changed": EventChanged, "removed": EventRemoved}

// jobEvents is the collection of jobs; it is always subscribed.
const jobEvents = "core.get_jobs"

// A topic is a collection with listeners. It is part of the session's state.
type topic struct {
	id        string // of the subscription
	live      bool   // confirmed on the current link
	listeners []*listener
}

// confirm notifies listeners that they receive all events from now on.
func (st *state) confirm(name, id string) {
	t := st.topics[name]
	if t == nil {
		return
	}
	t.id, t.live = id, true
	t.emit(st.numbered(Event{Kind: EventReset}))
}

// numbered assigns an event its number.
func (st *state) numbered(e Event) Event {
	st.heard++
	e.Seq = st.heard
	return e
}

func (t *topic) lose(st *state) {
	if t.live {
		t.emit(st.numbered(Event{Kind: EventLost}))
	}
	t.live = false
}

func (t *topic) emit(e Event) {
	for _, l := range t.listeners {
		l.put(e)
	}
}

func (t *topic) close() {
	for _, l := range t.listeners {
		l.close()
	}
}

// subscribe adds a listener. The subscription is requested when the state is settled, or with the
// next link.
func (s *session) subscribe(name string, fn func(Event)) *listener {
	l := newListener(fn)
	s.update(func(st *state) {
		if st.closed {
			l.close()
			return
		}
		s.begin(st)
		t := st.topics[name]
		if t == nil {
			t = &topic{}
			st.topics[name] = t
		}
		t.listeners = append(t.listeners, l)
		if t.live {
			l.put(st.numbered(Event{Kind: EventReset}))
		}
		s.wg.Go(l.run)
	})
	return l
}

// unsubscribe removes a listener, and the subscription with the last one.
func (s *session) unsubscribe(name string, l *listener) {
	l.close()
	s.update(func(st *state) {
		t := st.topics[name]
		if t == nil {
			return
		}
		t.listeners = slices.DeleteFunc(t.listeners, func(o *listener) bool { return o == l })
		if len(t.listeners) > 0 || name == jobEvents {
			return
		}
		delete(st.topics, name)
		if st.link != nil && t.live {
			delete(st.link.asked, name)
			s.ownCall("core.unsubscribe", []any{t.id}, nil)
		}
	})
}

// subscribeOn requests a subscription after the link was opened.
func (s *session) subscribeOn(l *link, name string) {
	s.ownCall("core.subscribe", []any{name}, func(result json.RawMessage, err error) {
		if err != nil || s.st.link != l {
			return // refused: no reset follows; lost: the next link subscribes
		}
		var id string
		_ = json.Unmarshal(result, &id) // used to unsubscribe only
		s.st.confirm(name, id)
	})
}

// ownCall queues a call that is bound to the current link. The lock is held.
func (s *session) ownCall(method string, params []any, answered func(json.RawMessage, error)) {
	s.st.seq++
	frame, err := encodeCall(s.st.seq, method, params)
	if err != nil {
		return // a name too long for a frame cannot be a collection
	}
	if answered == nil {
		answered = func(json.RawMessage, error) {}
	}
	s.st.queue = append(s.st.queue, &request{
		id: s.st.seq, method: method, frame: frame, kind: read, own: answered, done: make(chan struct{}),
	})
}

// notified handles a notification. The lock is held.
func (s *session) notified(st *state, m message) {
	if m.Method == "notify_unsubscribed" {
		st.link.fail(errUnsubscribed) // the next link subscribes again
		return
	}
	var p struct {
		Msg        string          `json:"msg"`
		Collection string          `json:"collection"`
		ID         json.RawMessage `json:"id"`
		Fields     json.RawMessage `json:"fields"`
	}
	if m.Method != "collection_update" || json.Unmarshal(m.Params, &p) != nil {
		return
	}
	e := Event{Kind: eventKinds[p.Msg], Fields: p.Fields}
	_ = json.Unmarshal(p.ID, &e.ID) // stays 0 if it is a name
	if e.Kind == 0 {
		return
	}
	if p.Collection == jobEvents {
		st.jobs.heard(e)
	}
	if t := st.topics[p.Collection]; t != nil && t.live {
		t.emit(st.numbered(e))
	}
}
