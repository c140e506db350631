// A plain forwarding server on pion, as its own examples build one: a track is read once and written
// to every subscriber. It answers WHIP-like and WHEP-like offers.
//
//	POST /pub/{room}/{name}            an offer with one video; the answer
//	POST /sub/{room}/{name}?tracks=N   an offer with N videos to receive, those of others; the answer
//
// Media has one UDP port on loopback. It keeps rooms for ever: a bench starts it anew.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/pion/interceptor"
	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"
)

// How long a subscriber waits for the tracks that it expects.
const tracksWithin = 10 * time.Second

// Largest offer, bytes.
const offerBytesMax = 1 << 20

// A publisher's track, as its subscribers get it.
type published struct {
	local *webrtc.TrackLocalStaticRTP
	// Asks the publisher for a key frame.
	refresh func()
}

type server struct {
	api *webrtc.API

	mutex sync.Mutex
	// By room and name of the publisher.
	rooms map[string]map[string]published
}

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "address for HTTP")
	udp := flag.String("udp", "127.0.0.1:0", "address for media")
	version := flag.Bool("version", false, "print the version of pion and end")
	flag.Parse()
	if *version {
		fmt.Println(pionVersion())
		return
	}
	api, err := newAPI(*udp)
	if err != nil {
		log.Fatal(err)
	}
	s := &server{api: api, rooms: map[string]map[string]published{}}
	http.HandleFunc("POST /pub/{room}/{name}", s.answerWith(s.publish))
	http.HandleFunc("POST /sub/{room}/{name}", s.answerWith(s.subscribe))
	log.Fatal(http.ListenAndServe(*listen, nil))
}

func pionVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			if module.Path == "github.com/pion/webrtc/v4" {
				return "pion/webrtc " + module.Version + ", " + info.GoVersion
			}
		}
	}
	return "pion/webrtc"
}

// VP8 with pion's default interceptors: NACK both ways, reports.
func newAPI(udp string) (*webrtc.API, error) {
	address, err := net.ResolveUDPAddr("udp4", udp)
	if err != nil {
		return nil, err
	}
	socket, err := net.ListenUDP("udp4", address)
	if err != nil {
		return nil, err
	}
	// As large as the others ask for. Less is no reason not to go on.
	_ = socket.SetReadBuffer(4 << 20)
	_ = socket.SetWriteBuffer(4 << 20)
	settings := webrtc.SettingEngine{}
	settings.SetICEUDPMux(webrtc.NewICEUDPMux(nil, socket))
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	media := &webrtc.MediaEngine{}
	if err := media.RegisterDefaultCodecs(); err != nil {
		return nil, err
	}
	interceptors := &interceptor.Registry{}
	if err := webrtc.RegisterDefaultInterceptors(media, interceptors); err != nil {
		return nil, err
	}
	return webrtc.NewAPI(
		webrtc.WithSettingEngine(settings),
		webrtc.WithMediaEngine(media),
		webrtc.WithInterceptorRegistry(interceptors),
	), nil
}

// Makes a connection ready for the offer, and answers it.
func (s *server) answerWith(
	prepare func(*webrtc.PeerConnection, *http.Request) error,
) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		answer, err := s.answer(prepare, r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/sdp")
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, answer)
	}
}

func (s *server) answer(
	prepare func(*webrtc.PeerConnection, *http.Request) error, r *http.Request,
) (answer string, err error) {
	offer, err := io.ReadAll(io.LimitReader(r.Body, offerBytesMax))
	if err != nil {
		return "", err
	}
	connection, err := s.api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			_ = connection.Close()
		}
	}()
	closeWhenFailed(connection)
	if err := prepare(connection, r); err != nil {
		return "", err
	}
	description := webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: string(offer)}
	if err := connection.SetRemoteDescription(description); err != nil {
		return "", err
	}
	local, err := connection.CreateAnswer(nil)
	if err != nil {
		return "", err
	}
	gathered := webrtc.GatheringCompletePromise(connection)
	if err := connection.SetLocalDescription(local); err != nil {
		return "", err
	}
	<-gathered
	return connection.LocalDescription().SDP, nil
}

// Whoever is gone is forgotten, or the server would go on writing to it.
func closeWhenFailed(connection *webrtc.PeerConnection) {
	connection.OnConnectionStateChange(func(state webrtc.PeerConnectionState) {
		closed := state == webrtc.PeerConnectionStateClosed
		if closed || state == webrtc.PeerConnectionStateFailed {
			_ = connection.Close()
		}
	})
}

func (s *server) publish(connection *webrtc.PeerConnection, r *http.Request) error {
	room, name := r.PathValue("room"), r.PathValue("name")
	connection.OnTrack(func(remote *webrtc.TrackRemote, receiver *webrtc.RTPReceiver) {
		local, err := webrtc.NewTrackLocalStaticRTP(remote.Codec().RTPCodecCapability, name, name)
		if err != nil {
			log.Print(err)
			return
		}
		refresh := func() {
			pli := &rtcp.PictureLossIndication{MediaSSRC: uint32(remote.SSRC())}
			_ = connection.WriteRTCP([]rtcp.Packet{pli})
		}
		s.keep(room, name, published{local, refresh})
		go drain(receiver.ReadRTCP, nil)
		for {
			packet, _, err := remote.ReadRTP()
			if err != nil {
				return
			}
			// One subscriber that is gone does not end it for the others.
			if err := local.WriteRTP(packet); err != nil && !errors.Is(err, io.ErrClosedPipe) {
				log.Print(err)
			}
		}
	})
	return nil
}

func (s *server) subscribe(connection *webrtc.PeerConnection, r *http.Request) error {
	count, err := strconv.Atoi(r.URL.Query().Get("tracks"))
	if err != nil {
		return fmt.Errorf("tracks: %w", err)
	}
	tracks, err := s.others(r.PathValue("room"), r.PathValue("name"), count)
	if err != nil {
		return err
	}
	for _, track := range tracks {
		sender, err := connection.AddTrack(track.local)
		if err != nil {
			return err
		}
		go drain(sender.ReadRTCP, track.refresh)
	}
	return nil
}

func (s *server) keep(room, name string, track published) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.rooms[room] == nil {
		s.rooms[room] = map[string]published{}
	}
	s.rooms[room][name] = track
}

// The tracks of all others in a room, when there are so many.
func (s *server) others(room, name string, count int) ([]published, error) {
	until := time.Now().Add(tracksWithin)
	for {
		found := s.listed(room, name)
		if len(found) >= count {
			return found, nil
		}
		if time.Now().After(until) {
			return nil, fmt.Errorf("%d of %d tracks are there", len(found), count)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (s *server) listed(room, name string) []published {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	var found []published
	for publisher, track := range s.rooms[room] {
		if publisher != name {
			found = append(found, track)
		}
	}
	return found
}

// Reads reports, which the interceptors need, and hands on wishes for key frames.
func drain(read func() ([]rtcp.Packet, interceptor.Attributes, error), refresh func()) {
	for {
		packets, _, err := read()
		if err != nil {
			return
		}
		for _, packet := range packets {
			if _, ok := packet.(*rtcp.PictureLossIndication); ok && refresh != nil {
				refresh()
			}
		}
	}
}
