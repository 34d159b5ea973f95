// What a client agent asks of its servers, in another hand's words: hashicorp's yamux under net/rpc
// with hashicorp's codec, and structs that have the fields of Consul's.
//
//	agent ADDR    asks the server whose RPC port that is; prints "ok", exits 1 on the first difference
package main

import (
	"io"
	"log"
	"net"
	"net/rpc"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/hashicorp/go-msgpack/v2/codec"
	msgpackrpc "github.com/hashicorp/net-rpc-msgpackrpc/v2"
	"github.com/hashicorp/yamux"
)

type QueryOptions struct {
	Token                         string
	MinQueryIndex                 uint64
	MaxQueryTime                  time.Duration
	AllowStale, RequireConsistent bool
	UseCache                      bool
	MaxStaleDuration, MaxAge      time.Duration
	MustRevalidate                bool
	StaleIfError                  time.Duration
	Filter                        string
	AllowNotModifiedResponse      bool
}

type WriteRequest struct{ Token string }

type QueryMeta struct {
	Index                 uint64
	LastContact           time.Duration
	KnownLeader           bool
	ConsistencyLevel      string
	NotModified           bool
	Backend               int
	ResultsFilteredByACLs bool
}

type RaftIndex struct{ CreateIndex, ModifyIndex uint64 }

type QuerySource struct{ Datacenter, Segment, Node, NodePartition, Ip string }

type Node struct {
	ID, Node, Address, Datacenter, Partition, PeerName string
	TaggedAddresses, Meta                              map[string]string
	RaftIndex
}

type Weights struct{ Passing, Warning int }

type ServiceAddress struct {
	Address string
	Port    int
}

type Upstream struct {
	DestinationType, DestinationName, Datacenter string
	LocalBindPort                                int
	Config                                       map[string]any
}

type Proxy struct {
	DestinationServiceName, DestinationServiceID, LocalServiceAddress string
	LocalServicePort                                                  int
	Mode                                                              string
	Config                                                            map[string]any
	Upstreams                                                         []Upstream
}

type NodeService struct {
	Kind, ID, Service          string
	Tags                       []string
	Address                    string
	TaggedAddresses            map[string]ServiceAddress
	Meta                       map[string]string
	Port                       int
	SocketPath                 string
	Weights                    *Weights
	EnableTagOverride          bool
	Proxy                      Proxy
	Connect                    struct{ Native bool }
	LocallyRegisteredAsSidecar bool
	PeerName                   string
	RaftIndex
}

type Definition struct {
	HTTP                                              string
	Header                                            map[string][]string
	Interval, Timeout, DeregisterCriticalServiceAfter time.Duration
	OutputMaxSize                                     uint
}

type HealthCheck struct {
	Node, CheckID, Name, Status, Notes, Output string
	ServiceID, ServiceName                     string
	ServiceTags                                []string
	Type, Interval, Timeout                    string
	ExposedPort                                int
	PeerName                                   string
	Definition                                 Definition
	RaftIndex
}

type RegisterRequest struct {
	Datacenter, ID, Node, Address string
	TaggedAddresses, NodeMeta     map[string]string
	Service                       *NodeService
	Check                         *HealthCheck
	Checks                        []*HealthCheck
	SkipNodeUpdate                bool
	PeerName                      string
	WriteRequest
	RaftIndex
}

type DeregisterRequest struct {
	Datacenter, Node, ServiceID, CheckID, PeerName string
	WriteRequest
}

type NodeRequest struct {
	Datacenter, Node, PeerName string
	QueryOptions
}

type DcRequest struct {
	Datacenter      string
	NodeMetaFilters map[string]string
	Source          QuerySource
	PeerName        string
	QueryOptions
}

type ServiceRequest struct {
	Datacenter            string
	NodeMetaFilters       map[string]string
	PeerName, ServiceName string
	ServiceTag            string
	ServiceTags           []string
	ServiceAddress        string
	TagFilter             bool
	Source                QuerySource
	Connect, Ingress      bool
	QueryOptions
}

type NodeServices struct {
	Node     *Node
	Services map[string]*NodeService
}

type IndexedNodeServices struct {
	NodeServices *NodeServices
	QueryMeta
}

type IndexedChecks struct {
	HealthChecks []*HealthCheck
	QueryMeta
}

type CheckServiceNode struct {
	Node    *Node
	Service *NodeService
	Checks  []*HealthCheck
}

type IndexedHealth struct {
	Nodes []CheckServiceNode
	QueryMeta
}

type IndexedNodes struct {
	Nodes []*Node
	QueryMeta
}

type IndexedServices struct {
	Services map[string][]string
	QueryMeta
}

type DirEntry struct {
	LockIndex uint64
	Key       string
	Flags     uint64
	Value     []byte
	Session   string
	RaftIndex
}

type KVSRequest struct {
	Datacenter, Op string
	DirEnt         DirEntry
	WriteRequest
}

type KeyRequest struct {
	Datacenter, Key string
	QueryOptions
}

type KeyListRequest struct {
	Datacenter, Prefix, Seperator string
	QueryOptions
}

type IndexedEntries struct {
	Entries []*DirEntry
	QueryMeta
}

type IndexedKeys struct {
	Keys []string
	QueryMeta
}

type Session struct {
	ID, Name, Node string
	LockDelay      time.Duration
	Behavior, TTL  string
	NodeChecks     []string
	Checks         []string
	RaftIndex
}

type SessionRequest struct {
	Datacenter, Op string
	Session        Session
	WriteRequest
}

type SessionGet struct {
	Datacenter, SessionID, Session string
	QueryOptions
}

type IndexedSessions struct {
	Sessions []*Session
	QueryMeta
}

type TxnKV struct {
	Verb   string
	DirEnt DirEntry
}

type TxnOp struct{ KV *TxnKV }

type TxnRequest struct {
	Datacenter string
	Ops        []*TxnOp
	WriteRequest
}

type TxnResult struct {
	KV   *DirEntry
	Node *Node
}

type TxnResponse struct {
	Results []*TxnResult
	Errors  []*struct {
		OpIndex int
		What    string
	}
}

type Coordinate struct {
	Vec                       []float64
	Error, Adjustment, Height float64
}

type CoordinateUpdate struct {
	Datacenter, Node, Segment string
	Coord                     *Coordinate
	WriteRequest
}

type IndexedCoordinates struct {
	Coordinates []*struct {
		Node, Segment string
		Coord         *Coordinate
	}
	QueryMeta
}

type NodeInfo struct {
	ID, Node, Address     string
	TaggedAddresses, Meta map[string]string
	Services              []*NodeService
	Checks                []*HealthCheck
}

type IndexedDump struct {
	Dump []*NodeInfo
	QueryMeta
}

type EventFire struct {
	Datacenter, Name string
	Payload          []byte
	QueryOptions
}

type ServerHealth struct {
	ID, Name, Address   string
	SerfStatus          int
	Version             string
	Leader              bool
	LastContact         time.Duration
	LastTerm, LastIndex uint64
	Healthy, Voter      bool
	StableSince         time.Time
}

type Health struct {
	Healthy          bool
	FailureTolerance int
	Servers          []ServerHealth
}

type RaftServer struct {
	ID, Node, Address string
	Leader            bool
	ProtocolVersion   string
	Voter             bool
	LastIndex         uint64
}

type RaftConfiguration struct {
	Servers []*RaftServer
	Index   uint64
}

type Autopilot struct {
	CleanupDeadServers      bool
	LastContactThreshold    time.Duration
	MaxTrailingLogs         uint64
	MinQuorum               uint
	ServerStabilizationTime time.Duration
	RedundancyZoneTag       string
	DisableUpgradeMigration bool
	UpgradeVersionTag       string
	RaftIndex
}

type AutopilotSet struct {
	Datacenter string
	Config     Autopilot
	CAS        bool
	WriteRequest
}

const dc = "dc1"

var handle = func() *codec.MsgpackHandle {
	h := &codec.MsgpackHandle{}
	h.RawToString = true
	h.TimeNotBuiltin = true
	h.MapType = reflect.TypeOf(map[string]any(nil))
	return h
}()

var session *yamux.Session

func check(ok bool, format string, args ...any) {
	if !ok {
		log.Fatalf(format, args...)
	}
}

// ask makes one call on a stream of its own.
func ask(method string, args, reply any) error {
	stream, err := session.OpenStream()
	if err != nil {
		return err
	}
	defer stream.Close()
	client := rpc.NewClientWithCodec(msgpackrpc.NewCodecFromHandle(true, true, stream, handle))
	return client.Call(method, args, reply)
}

// must makes a call that has to succeed.
func must(method string, args, reply any) {
	err := ask(method, args, reply)
	check(err == nil, "%s: %v", method, err)
}

// fails makes a call that has to fail with this text in the error.
func fails(text, method string, args any) {
	var nothing struct{}
	err := ask(method, args, &nothing)
	check(err != nil && strings.Contains(err.Error(), text), "%s: %v, want %q", method, err, text)
}

func until(what string, ready func() bool) {
	end := time.Now().Add(20 * time.Second)
	for !ready() {
		check(time.Now().Before(end), "%s: not in time", what)
		time.Sleep(20 * time.Millisecond)
	}
}

func main() {
	log.SetFlags(0)
	conn, err := net.Dial("tcp", os.Args[1])
	check(err == nil, "dial: %v", err)
	_, err = conn.Write([]byte{4})
	check(err == nil, "first byte: %v", err)
	config := yamux.DefaultConfig()
	config.LogOutput = io.Discard
	session, err = yamux.Client(conn, config)
	check(err == nil, "session: %v", err)

	status()
	catalog()
	blocking()
	keys()
	sessions()
	transactions()
	coordinates()
	others()
	operator()
	os.Stdout.WriteString("ok\n")
}

func status() {
	var nothing struct{}
	must("Status.Ping", struct{}{}, &nothing)
	var leader string
	must("Status.Leader", struct{}{}, &leader)
	check(strings.HasSuffix(leader, os.Args[1][strings.LastIndex(os.Args[1], ":"):]), "leader %q", leader)
	var peers []string
	must("Status.Peers", struct{}{}, &peers)
	check(len(peers) == 1 && peers[0] == leader, "peers %q", peers)
	fails("rpc: can't find service ACL.TokenRead", "ACL.TokenRead", struct{}{})
	fails("rpc: can't find method Catalog.Nothing", "Catalog.Nothing", struct{}{})
	fails("No path to datacenter", "Catalog.ListNodes", &DcRequest{Datacenter: "dc2"})
	fails("codec.decoder:", "KVS.Get", map[string]any{"Datacenter": 7})
}

// What an agent does when it comes up: looks what is there, and registers itself and its services.
func catalog() {
	var services IndexedNodeServices
	node := &NodeRequest{Datacenter: dc, Node: "golang", QueryOptions: QueryOptions{AllowStale: true}}
	must("Catalog.NodeServices", node, &services)
	check(services.NodeServices == nil && services.Index > 0 && services.KnownLeader, "unknown node: %+v", services)
	register := func(service *NodeService, checks ...*HealthCheck) error {
		var nothing struct{}
		return ask("Catalog.Register", &RegisterRequest{
			Datacenter: dc, ID: "f4d2431d-78a5-9136-6282-0418a1d95840", Node: "golang", Address: "127.0.0.9",
			TaggedAddresses: map[string]string{"lan": "127.0.0.9"}, NodeMeta: map[string]string{"rack": "r1"},
			Service: service, Checks: checks,
		}, &nothing)
	}
	check(register(nil) == nil, "register the node")
	web := &NodeService{
		ID: "web-1", Service: "web", Tags: []string{"a", "b"}, Port: 80, Weights: &Weights{3, 1},
		Meta:            map[string]string{"k": "v"},
		TaggedAddresses: map[string]ServiceAddress{"wan": {"10.0.0.9", 8080}},
	}
	alive := &HealthCheck{
		CheckID: "service:web-1", Name: "web alive", Status: "passing", ServiceID: "web-1", ServiceName: "web",
		Type: "http", Interval: "10s", Output: strings.Repeat("a line of output ", 300),
		Definition: Definition{HTTP: "http://127.0.0.9/", Header: map[string][]string{"X": {"1"}}, Interval: 10 * time.Second, OutputMaxSize: 4096},
	}
	check(register(web, alive) == nil, "register a service")
	sidecar := &NodeService{
		Kind: "connect-proxy", ID: "web-1-sidecar", Service: "web-sidecar", Port: 21000,
		Proxy: Proxy{DestinationServiceName: "web", Config: map[string]any{"limit": 5, "deep": map[string]any{"text": "t"}},
			Upstreams: []Upstream{{DestinationType: "service", DestinationName: "db", LocalBindPort: 9191}}},
	}
	check(register(sidecar) == nil, "register a proxy")
	err := register(&NodeService{ID: "x"})
	check(err != nil && strings.HasPrefix(err.Error(), "Must provide service name"), "%v", err)
	err = register(nil, &HealthCheck{Name: "c", ServiceID: "gone"})
	check(err != nil && strings.Contains(err.Error(), "Unknown service ID"), "%v", err)

	services = IndexedNodeServices{}
	must("Catalog.NodeServices", node, &services)
	got := services.NodeServices
	check(got.Node.Meta["rack"] == "r1" && got.Node.ModifyIndex > 0, "node: %+v", got.Node)
	check(len(got.Services) == 2, "services: %+v", got.Services)
	first := got.Services["web-1"]
	check(*first.Weights == Weights{3, 1} && reflect.DeepEqual(first.Tags, web.Tags) &&
		reflect.DeepEqual(first.TaggedAddresses, web.TaggedAddresses) && first.Meta["k"] == "v", "service: %+v", first)
	proxy := got.Services["web-1-sidecar"]
	check(*proxy.Weights == Weights{1, 1}, "weights: %+v", proxy.Weights)
	check(proxy.Proxy.Upstreams[0].LocalBindPort == 9191 &&
		reflect.DeepEqual(proxy.Proxy.Config["deep"], map[string]any{"text": "t"}), "proxy: %+v", proxy.Proxy)
	var checks IndexedChecks
	must("Health.NodeChecks", node, &checks)
	check(len(checks.HealthChecks) == 1, "checks: %+v", checks)
	there := checks.HealthChecks[0]
	check(there.Output == alive.Output && there.Node == "golang" && reflect.DeepEqual(there.ServiceTags, web.Tags), "check: %+v", there)
	check(reflect.DeepEqual(there.Definition, alive.Definition), "definition: %+v", there.Definition)

	var health IndexedHealth
	must("Health.ServiceNodes", &ServiceRequest{Datacenter: dc, ServiceName: "web", ServiceTags: []string{"b"}, TagFilter: true,
		QueryOptions: QueryOptions{RequireConsistent: true, Filter: "Node.Meta.rack == r1"}}, &health)
	check(len(health.Nodes) == 1 && health.Nodes[0].Service.ID == "web-1" && len(health.Nodes[0].Checks) == 1, "health: %+v", health)
	health = IndexedHealth{}
	must("Health.ServiceNodes", &ServiceRequest{Datacenter: dc, ServiceName: "web", Connect: true}, &health)
	check(len(health.Nodes) == 1 && health.Nodes[0].Service.ID == "web-1-sidecar", "mesh: %+v", health)
	var nodes IndexedNodes
	must("Catalog.ListNodes", &DcRequest{Datacenter: dc, NodeMetaFilters: map[string]string{"rack": "r1"}}, &nodes)
	check(len(nodes.Nodes) == 1 && nodes.Nodes[0].Node == "golang", "nodes: %+v", nodes)
	var names IndexedServices
	must("Catalog.ListServices", &DcRequest{Datacenter: dc}, &names)
	check(reflect.DeepEqual(names.Services["web"], []string{"a", "b"}), "names: %+v", names)
	var datacenters []string
	must("Catalog.ListDatacenters", struct{}{}, &datacenters)
	check(reflect.DeepEqual(datacenters, []string{dc}), "datacenters: %q", datacenters)
	var dump IndexedDump
	must("Internal.NodeInfo", node, &dump)
	check(len(dump.Dump) == 1 && len(dump.Dump[0].Services) == 2 && len(dump.Dump[0].Checks) == 1, "dump: %+v", dump)
}

func blocking() {
	request := &ServiceRequest{Datacenter: dc, ServiceName: "web"}
	var before IndexedHealth
	must("Health.ServiceNodes", request, &before)
	request.MinQueryIndex, request.MaxQueryTime = before.Index, 50*time.Millisecond
	var same IndexedHealth
	start := time.Now()
	must("Health.ServiceNodes", request, &same)
	check(same.Index == before.Index && time.Since(start) >= 50*time.Millisecond, "time is over: %+v", same.QueryMeta)
	request.MaxQueryTime = time.Minute
	var after IndexedHealth
	done := make(chan error)
	go func() { done <- ask("Health.ServiceNodes", request, &after) }()
	var nothing struct{}
	must("Catalog.Register", &RegisterRequest{Datacenter: dc, Node: "golang", SkipNodeUpdate: true,
		Check: &HealthCheck{CheckID: "service:web-1", Name: "web alive", Status: "critical", ServiceID: "web-1"}}, &nothing)
	err := <-done
	check(err == nil && after.Index > before.Index && after.Nodes[0].Checks[0].Status == "critical", "woken: %v %+v", err, after)
}

func keys() {
	apply := func(op string, entry DirEntry) bool {
		var outcome bool
		must("KVS.Apply", &KVSRequest{Datacenter: dc, Op: op, DirEnt: entry}, &outcome)
		return outcome
	}
	value := []byte{0, 255, 195, 40}
	check(!apply("set", DirEntry{Key: "go/a", Value: value, Flags: 1 << 63}), "set says true")
	apply("set", DirEntry{Key: "go/empty"})
	apply("set", DirEntry{Key: "go/deep/b", Value: make([]byte, 400_000)})
	var found IndexedEntries
	must("KVS.Get", &KeyRequest{Datacenter: dc, Key: "go/a"}, &found)
	got := found.Entries[0]
	check(string(got.Value) == string(value) && got.Flags == 1<<63 && found.Index == got.ModifyIndex, "get: %+v", got)
	check(!apply("cas", DirEntry{Key: "go/a"}), "cas of a key that is there")
	check(apply("cas", DirEntry{Key: "go/a", Value: value, RaftIndex: RaftIndex{ModifyIndex: got.ModifyIndex}}), "cas")
	found = IndexedEntries{}
	must("KVS.List", &KeyRequest{Datacenter: dc, Key: "go/"}, &found)
	check(len(found.Entries) == 3 && len(found.Entries[1].Value) == 400_000 && found.Entries[2].Value == nil, "list")
	var names IndexedKeys
	must("KVS.ListKeys", &KeyListRequest{Datacenter: dc, Prefix: "go/", Seperator: "/"}, &names)
	check(reflect.DeepEqual(names.Keys, []string{"go/a", "go/deep/", "go/empty"}), "names: %q", names.Keys)
	found = IndexedEntries{}
	must("KVS.Get", &KeyRequest{Datacenter: dc, Key: "go/none"}, &found)
	check(found.Entries == nil && found.Index > 0, "none: %+v", found)
	fails("invalid session", "KVS.Apply", &KVSRequest{Datacenter: dc, Op: "lock", DirEnt: DirEntry{Key: "go/l", Session: "nobody"}})
}

func sessions() {
	var id string
	must("Session.Apply", &SessionRequest{Datacenter: dc, Op: "create", Session: Session{Node: "golang", TTL: "10s", LockDelay: time.Second, Behavior: "delete"}}, &id)
	check(len(id) == 36, "id %q", id)
	for _, get := range []SessionGet{{Datacenter: dc, SessionID: id}, {Datacenter: dc, Session: id}} {
		for _, method := range []string{"Session.Get", "Session.Renew"} {
			var found IndexedSessions
			must(method, &get, &found)
			check(len(found.Sessions) == 1 && found.Sessions[0].LockDelay == time.Second && found.Sessions[0].Behavior == "delete", "%s: %+v", method, found)
		}
	}
	var locked bool
	must("KVS.Apply", &KVSRequest{Datacenter: dc, Op: "lock", DirEnt: DirEntry{Key: "go/lock", Session: id}}, &locked)
	check(locked, "lock")
	var gone string
	must("Session.Apply", &SessionRequest{Datacenter: dc, Op: "destroy", Session: Session{ID: id}}, &gone)
	var found IndexedSessions
	must("Session.Get", &SessionGet{Datacenter: dc, SessionID: id}, &found)
	check(gone == "" && found.Sessions == nil, "destroyed: %q %+v", gone, found)
	fails("Missing node registration", "Session.Apply", &SessionRequest{Datacenter: dc, Op: "create", Session: Session{Node: "nowhere"}})
}

func transactions() {
	op := func(verb, key string) *TxnOp {
		return &TxnOp{KV: &TxnKV{Verb: verb, DirEnt: DirEntry{Key: key, Value: []byte("t")}}}
	}
	var done TxnResponse
	must("Txn.Apply", &TxnRequest{Datacenter: dc, Ops: []*TxnOp{op("set", "go/txn"), op("get", "go/txn")}}, &done)
	check(len(done.Results) == 2 && done.Results[0].KV.Value == nil && string(done.Results[1].KV.Value) == "t" && done.Errors == nil, "txn: %+v", done)
	done = TxnResponse{}
	must("Txn.Apply", &TxnRequest{Datacenter: dc, Ops: []*TxnOp{op("set", "go/txn"), op("check-not-exists", "go/txn")}}, &done)
	check(done.Results == nil && len(done.Errors) == 1 && done.Errors[0].OpIndex == 1, "failed txn: %+v", done)
}

func coordinates() {
	var nothing struct{}
	at := &Coordinate{Vec: []float64{0.25, 0, 0, 0, 0, 0, 0, 0}, Error: 1.5, Height: 1e-5}
	must("Coordinate.Update", &CoordinateUpdate{Datacenter: dc, Node: "golang", Coord: at}, &nothing)
	until("the coordinate", func() bool {
		var found IndexedCoordinates
		must("Coordinate.Node", &NodeRequest{Datacenter: dc, Node: "golang"}, &found)
		return len(found.Coordinates) == 1 && reflect.DeepEqual(found.Coordinates[0].Coord, at)
	})
	fails("incompatible coordinate", "Coordinate.Update", &CoordinateUpdate{Datacenter: dc, Node: "golang", Coord: &Coordinate{}})
}

func others() {
	var meta QueryMeta
	must("Internal.EventFire", &EventFire{Datacenter: dc, Name: "deploy", Payload: []byte("\x82\xa1n\xa6deploy\xa1v\x01"), QueryOptions: QueryOptions{AllowStale: true}}, &meta)
	fails("Connect must be enabled", "ConnectCA.Roots", &DcRequest{Datacenter: dc})
	var nothing struct{}
	must("Catalog.Deregister", &DeregisterRequest{Datacenter: dc, Node: "golang", ServiceID: "web-1-sidecar"}, &nothing)
	var services IndexedNodeServices
	must("Catalog.NodeServices", &NodeRequest{Datacenter: dc, Node: "golang"}, &services)
	check(len(services.NodeServices.Services) == 1, "deregistered: %+v", services.NodeServices)
}

func operator() {
	var raft RaftConfiguration
	must("Operator.RaftGetConfiguration", &DcRequest{Datacenter: dc}, &raft)
	check(len(raft.Servers) == 1 && raft.Servers[0].Leader && raft.Servers[0].Voter, "raft: %+v", raft)
	var config Autopilot
	must("Operator.AutopilotGetConfiguration", &DcRequest{Datacenter: dc}, &config)
	check(config.LastContactThreshold == 200*time.Millisecond && config.MaxTrailingLogs == 250, "autopilot: %+v", config)
	config.MinQuorum = 3
	var set bool
	must("Operator.AutopilotSetConfiguration", &AutopilotSet{Datacenter: dc, Config: config, CAS: true}, &set)
	check(set, "autopilot is set")
	must("Operator.AutopilotSetConfiguration", &AutopilotSet{Datacenter: dc, Config: config, CAS: true}, &set)
	check(!set, "autopilot is set with an old index")
	until("health of the server", func() bool {
		var health Health
		must("Operator.ServerHealth", &DcRequest{Datacenter: dc}, &health)
		return health.Healthy && len(health.Servers) == 1 && health.Servers[0].Leader &&
			time.Since(health.Servers[0].StableSince) < time.Hour
	})
}
