// Package sim is a TrueNAS in memory: an [http.Handler] with the JSON-RPC websocket, the upload and the download of a real one,
// in the release of its [Config].
//
//	nas, err := sim.New(sim.Config{Release: "25.10"})
//	server, err := sim.Serve(nas, "127.0.0.1:0")
//	// … a client logs in at server.URL with sim.DefaultUser and sim.DefaultAPIKey …
//	nas.Inject(sim.Fault{Method: "vm.create", Nth: 1, Then: sim.DropReply})
//
// It is at least as strict as a NAS: it refuses unknown parameters, wrong types and missing roles with the NAS's error texts, and
// has no methods other than those in the method table. It reproduces surprising behavior: replies out of order, a job's last
// event before the reply with its id, jobs that are lost when the middleware restarts, job ids that start again at 1, and a
// queued job that swallows the next one of its lock.
//
// Two things surprise in the package itself. A plain method runs with the only lock held, and a job without it. And all
// durations of a NAS use Config.Clock, while Latency and delays are wall time.
package sim
