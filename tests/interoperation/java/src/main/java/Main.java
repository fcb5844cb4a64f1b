import io.grpc.CallOptions;
import io.grpc.ClientCall;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.TlsChannelCredentials;
import java.io.ByteArrayInputStream;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;

/** Opens streams with gRPC for Java: ADDRESS METHOD STREAMS FIRST SECOND [ROOTS CHAIN KEY], files of messages as bytes. */
public final class Main {
  private static final class Plain implements MethodDescriptor.Marshaller<byte[]> {
    public InputStream stream(byte[] value) {
      return new ByteArrayInputStream(value);
    }

    public byte[] parse(InputStream stream) {
      try {
        return stream.readAllBytes();
      } catch (IOException error) {
        throw new UncheckedIOException(error);
      }
    }
  }

  public static void main(String[] args) throws Exception {
    var credentials = args.length > 5
        ? TlsChannelCredentials.newBuilder().trustManager(new File(args[5])).keyManager(new File(args[6]), new File(args[7])).build()
        : InsecureChannelCredentials.create();
    var builder = Grpc.newChannelBuilder(args[0], credentials).maxInboundMessageSize(64 << 20);
    ManagedChannel channel = (args.length > 5 ? builder.overrideAuthority("localhost") : builder).build();
    byte[][] messages = {Files.readAllBytes(Path.of(args[3])), Files.readAllBytes(Path.of(args[4]))};
    int count = Integer.parseInt(args[2]);
    var method = MethodDescriptor.<byte[], byte[]>newBuilder(new Plain(), new Plain())
        .setType(MethodDescriptor.MethodType.BIDI_STREAMING).setFullMethodName(args[1].substring(1)).build();
    var done = new CountDownLatch(count);
    var total = new AtomicLong();
    for (int number = 0; number < count; number++) {
      ClientCall<byte[], byte[]> call = channel.newCall(method, CallOptions.DEFAULT);
      call.start(new ClientCall.Listener<byte[]>() {
        private int received;

        @Override public void onMessage(byte[] message) {
          total.addAndGet(message.length);
          if (++received == messages.length) {
            done.countDown();
          } else {
            call.sendMessage(messages[received]);
          }
        }

        @Override public void onClose(Status status, Metadata trailers) {
          System.err.println(status);
        }
      }, new Metadata());
      call.request(messages.length);
      call.sendMessage(messages[0]);
    }
    if (!done.await(120, TimeUnit.SECONDS)) {
      System.err.println("only " + (count - done.getCount()) + " of " + count + " streams were served");
      System.exit(1);
    }
    System.out.println(count + " " + total.get());
    System.exit(0);
  }
}
