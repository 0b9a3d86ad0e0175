// Package sim is a TrueNAS in memory: an [http.Handler] with the JSON-RPC
// websocket, the upload and the download of a real one, playing the release
// that its [Config] names.
//
//	nas, err := sim.New(sim.Config{Release: "25.10"})
//	server, err := sim.Serve(nas, "127.0.0.1:0")
//	// … a client logs in at server.URL with sim.DefaultUser and sim.DefaultAPIKey …
//	nas.Inject(sim.Fault{Method: "vm.create", Nth: 1, Then: sim.DropReply})
//
// It is at least as strict as the NAS that it plays: unknown parameters, wrong
// types and missing roles are refused in the NAS's own words, and what is not
// in the method table does not exist. It has the surprises too: replies come
// out of order, a job's last event may come before the reply with its id, jobs
// are forgotten when the middleware restarts and their ids start again at 1,
// and a queued job swallows the next one of its lock.
//
// What may surprise in the package itself: there is one lock, a plain method
// runs with it held and a job without, and everything that takes time by a
// NAS's reckoning goes by Config.Clock, while Latency and delays are wall time.
package sim
