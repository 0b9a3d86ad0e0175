package sim

import (
	"encoding/json"
)

// events maps the collections to their roles. A subscriber needs any one of the roles.
var events = map[string][]string{
	jobEvents:         nil,
	"vm.query":        {"VM_READ"},
	"vm.device.query": {"VM_DEVICE_READ"},
	datasetEvents:     {"DATASET_READ"},
	snapshotEvents:    {"SNAPSHOT_READ"},
}

// Names of collections.
const (
	jobEvents      = "core.get_jobs"
	datasetEvents  = "pool.dataset.query"
	snapshotEvents = "pool.snapshot.query"
)

// emit sends an event of a row to the subscribers of a collection. It reads fields, the visible fields of the row, before it
// returns. The caller holds the lock.
func (s *Sim) emit(collection, msg string, id, fields any) {
	s.emitExtra(collection, msg, id, fields, nil)
}

// emitExtra is emit with additional fields beside the row.
func (s *Sim) emitExtra(collection, msg string, id, fields, extra any) {
	s.emitTo(func(*session) bool { return true }, collection, msg, id, func() (any, any) { return fields, extra })
}

// emitJob sends an event of a job to the sessions that may see it. The caller holds the lock.
func (s *Sim) emitJob(msg string, j *job) {
	sees := func(c *session) bool { return c.user.sees(j) }
	s.emitTo(sees, jobEvents, msg, j.id, func() (any, any) { return j.row(), nil })
}

// emitTo encodes an event once, and only if there are subscribers.
func (s *Sim) emitTo(sees func(*session) bool, collection, msg string, id any, content func() (fields, extra any)) {
	var frame []byte
	for c := range s.sessions {
		if !c.subscribed(collection) || !sees(c) {
			continue
		}
		if frame == nil {
			fields, extra := content()
			frame = eventFrame(collection, msg, id, fields, extra)
		}
		if held, late := s.heldEvents[collection]; late {
			s.heldEvents[collection] = append(held, func() { c.send(frame) })
			continue
		}
		c.send(frame)
	}
}

// HoldEvents delays the events of a collection, such as vm.query, until release, as a NAS under load does. Calls are served
// meanwhile. The events keep their order.
func (s *Sim) HoldEvents(collection string) (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, late := s.heldEvents[collection]; !late {
		s.heldEvents[collection] = nil
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, send := range s.heldEvents[collection] {
			send()
		}
		delete(s.heldEvents, collection)
	}
}

// eventFrame is a collection_update notification. A removed row has no fields.
func eventFrame(collection, msg string, id, fields, extra any) []byte {
	type params struct {
		Msg        string `json:"msg"`
		Collection string `json:"collection"`
		ID         any    `json:"id"`
		Fields     any    `json:"fields,omitempty"`
		Extra      any    `json:"extra,omitempty"`
	}
	frame, err := json.Marshal(struct {
		Version string `json:"jsonrpc"`
		Method  string `json:"method"`
		Params  params `json:"params"`
	}{"2.0", "collection_update", params{Msg: msg, Collection: collection, ID: id, Fields: fields, Extra: extra}})
	if err != nil {
		panic("sim: an event cannot be encoded: " + err.Error())
	}
	return frame
}

// subscribed reports whether the session has subscribed to a collection.
func (c *session) subscribed(collection string) bool {
	for _, name := range c.subscriptions {
		if name == collection {
			return true
		}
	}
	return false
}

// subscribe is core.subscribe. A subscription to an unknown collection succeeds and never gets an event.
func subscribe(c *call) (any, error) {
	var event string
	if err := c.args([]string{"event"}, &event); err != nil {
		return nil, err
	}
	if roles, ok := events[event]; ok && !c.session.user.allowed(roles) {
		return nil, fail(eACCES, "Not authorized")
	}
	id := randomUUID(c.sim.random)
	c.session.subscriptions[id] = event
	return id, nil
}

// unsubscribe is core.unsubscribe.
func unsubscribe(c *call) (any, error) {
	var id string
	if err := c.args([]string{"id_"}, &id); err != nil {
		return nil, err
	}
	delete(c.session.subscriptions, id)
	return nil, nil
}
