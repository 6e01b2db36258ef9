#!/usr/bin/perl
# A small stateful node for the agent's tests. VERSION, SCHEMA and FLAGS are filled in.
use strict;
use warnings;
use IO::Handle;
use POSIX 'setsid';
use Socket;

my ($version, $schema, $flags) = ('@VERSION@', @SCHEMA@, '@FLAGS@');
my ($verb, $state, $from, $to, $area) = @ARGV;
my $live = ($state // '') !~ m{^/state};
# A second area, with a schema of its own, and one that this version reads beside.
my ($index) = $flags =~ /index=(\d+)/;
my ($reads) = $flags =~ /index-reads=(\d+)/;

sub slurp { open(my $f, '<', $_[0]) or return ''; local $/; my $text = <$f>; return defined $text ? $text : ''; }

sub save {
    my ($path, $text) = @_;
    open(my $f, '>', "$path.new") or die "$path: $!";
    print $f $text;
    $f->flush; $f->sync; close $f;
    rename("$path.new", $path) or die "$path: $!";
}

# In the middle of its work, and its work goes on when nobody waits for it any more.
sub kill_agent_once {
    my $note = "$state/killed-at-$version-$_[0]";
    return unless $live && $flags =~ /kills-agent-live/ && !-e $note;
    save($note, 'once');
    kill 'KILL', getppid();
    select(undef, undef, undef, 0.5);
}

if ($verb eq 'identity') {
    save("$state/key", 'made up');
    exit 0;
}
if ($verb eq 'migrate') {
    die "this way back is barred\n" if $flags =~ /back-fails(?!-live)/ && $to < $from;
    die "this way back is barred\n" if $flags =~ /back-fails-live/ && $live && $to > $from;
    if (defined $area && $area eq 'index') {
        save("$state/index", $to);
        kill_agent_once("index-$to");
        exit 0;
    }
    # Line by line and idempotent: a line of schema 2 begins with a mark.
    my @lines = map { s/^2://r } split /\n/, slurp("$state/words");
    @lines = map { "2:$_" } @lines if $to == 2;
    save("$state/words", join('', map { "$_\n" } @lines));
    save("$state/schema", $to);
    kill_agent_once("values-$to");
    if ($flags =~ /leaves-daemon-live/ && $state !~ m{^/state} && fork() == 0) {
        setsid();
        exec 'sleep', '600' if fork() == 0;
        exit 0;
    }
    die "it fails when all is done\n" if $flags =~ /forward-fails-live/ && $to > $from && $state !~ m{^/state};
    exit 0;
}

my $found = slurp("$state/schema");
save("$state/schema", $found = $schema) if $found eq '';
die "the data has schema $found, this version knows $schema\n" unless $found == $schema;

if ($index) {
    my $there = slurp("$state/index");
    save("$state/index", $there = $index) if $there eq '';
    die "the index has schema $there, this version knows $index\n"
        unless $there == $index || defined $reads && $there == $reads;
}
die "its key is not there\n" if $flags =~ /needs-key/ && !-e "$state/key";
die "the real key is in the shadow\n" if $flags =~ /needs-key/ && !$live && slurp("$state/key") eq 'REAL';
die "this program is broken\n" if $flags =~ /dies-live/ && $live;
die "it is unreadable\n" if $flags =~ /opens-no-copy/ && !$live && -e "$state/unreadable";

my $stop = 0;
my $asked = 0;
$SIG{TERM} = sub { $stop = 1 };
open(my $listener, '+<&=', 3) or die "no socket: $!";
socket(my $notify, AF_UNIX, SOCK_DGRAM, 0) or die;
send($notify, "READY=1", 0, sockaddr_un($ENV{NOTIFY_SOCKET})) or die "cannot notify: $!";
if ($flags =~ /phones-home/) {
    socket(my $out, AF_INET, SOCK_STREAM, 0) or die;
    connect($out, sockaddr_in(4444, inet_aton('203.0.113.5')));
}
open(my $words, '>>', "$state/words") or die;
my $mark = $schema == 2 ? '2:' : '';
until ($stop) {
    vec(my $read = '', fileno($listener), 1) = 1;
    next unless select($read, undef, undef, 0.05) > 0;
    accept(my $client, $listener) or next;
    my $line = <$client>;
    while (my $head = <$client>) { last if $head =~ /^\r?$/ }
    if (defined $line && $line =~ m{^PUT /(\S+)}) {
        kill 'KILL', $$ if $flags =~ /crash-on-write/;
        # What it reads in an old schema it brings along when it writes.
        save("$state/index", $index) if $index && slurp("$state/index") ne $index;
        print $words "$mark$1\n";
        $words->flush;
        $words->sync unless $flags =~ /careless/;
    }
    my $status = $flags =~ /sick-live/ && $state !~ m{^/state} ? '503 No' : '200 OK';
    $status = '503 No' if $flags =~ /late-live/ && $live && ++$asked > 40;
    my $body = qq({"product":"example","version":"$version"});
    print $client "HTTP/1.1 $status\r\nContent-Length: " . length($body) . "\r\nConnection: close\r\n\r\n$body";
    close $client;
}
